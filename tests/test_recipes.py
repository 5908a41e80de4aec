"""Recipes: all that decides a training, as one checked value."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import yaml

from truefit import ImageSet, InputError, Recipe, Trainer, find_recipe, load_data
from truefit.commands import main
from truefit.commands.train import parse_train
from truefit.config import from_plain, to_plain
from truefit.events import Event, Note
from truefit.recipes import auto
from truefit.recipes.lookup import recipe_names
from truefit.recipes.recipe import DEFAULT_LR, AugmentConfig, LossConfig, OptimizerConfig, ScheduleConfig


@pytest.mark.parametrize("name", recipe_names())
def test_named_recipe_carries_its_name_and_survives_yaml_and_json(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    plain = to_plain(recipe)
    assert from_plain(Recipe, yaml.safe_load(yaml.safe_dump(plain))) == recipe
    assert from_plain(Recipe, json.loads(json.dumps(plain))) == recipe


def test_standard_is_there_and_helpers_are_not():
    assert "standard" in recipe_names()
    assert not {"lookup", "recipe"} & set(recipe_names())


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(InputError, match='did you mean "standard"'):
        find_recipe("standrd")


WRONG = [
    (Recipe, {"epochs": 0}, "epochs"),
    (Recipe, {"epochs": -1}, "epochs"),
    (Recipe, {"epochs": 1.5}, "epochs"),
    (Recipe, {"epochs": True}, "epochs"),
    (Recipe, {"batch_size": 0}, "batch_size"),
    (Recipe, {"accumulate": 0}, "accumulate"),
    (Recipe, {"batch_size": 4, "accumulate": 5}, "accumulate"),
    (Recipe, {"clip_norm": 0.0}, "clip_norm"),
    (Recipe, {"clip_norm": float("nan")}, "clip_norm"),
    (Recipe, {"early_stopping": 0}, "early_stopping"),
    (OptimizerConfig, {"lr": 0.0}, "lr"),
    (OptimizerConfig, {"lr": -1.0}, "lr"),
    (OptimizerConfig, {"lr": float("inf")}, "lr"),
    (OptimizerConfig, {"lr": float("nan")}, "lr"),
    (OptimizerConfig, {"weight_decay": -0.1}, "weight_decay"),
    (OptimizerConfig, {"betas": (0.9, 1.0)}, "betas"),
    (OptimizerConfig, {"eps": 0.0}, "eps"),
    (OptimizerConfig, {"momentum": 1.0}, "momentum"),
    (OptimizerConfig, {"adam_share": 0.0}, "adam_share"),
    (ScheduleConfig, {"warmup": 1.0}, "warmup"),
    (ScheduleConfig, {"final": 1.5}, "final"),
    (ScheduleConfig, {"step_epochs": 0}, "step_epochs"),
    (ScheduleConfig, {"gamma": 0.0}, "gamma"),
    (ScheduleConfig, {"patience": -1}, "patience"),
    (LossConfig, {"label_smoothing": 1.0}, "label_smoothing"),
    (LossConfig, {"class_weights": (1.0, -1.0)}, "class_weights"),
    (LossConfig, {"class_weights": (0.0, 0.0)}, "class_weights"),
    (LossConfig, {"class_weights": ()}, "class_weights"),
    (LossConfig, {"class_weights": (1.0, float("inf"))}, "class_weights"),
    (AugmentConfig, {"shift": 0.6}, "shift"),
    (AugmentConfig, {"cutout": -0.1}, "cutout"),
    (AugmentConfig, {"brightness": 1.1}, "brightness"),
    (AugmentConfig, {"contrast": float("nan")}, "contrast"),
    (OptimizerConfig, {"name": "adamm"}, "adamm"),
    (ScheduleConfig, {"name": "cosin"}, "cosin"),
    (Recipe, {"precision": "float8"}, "float8"),
    (Recipe, {"averaging": "flipp"}, "flipp"),
    (LossConfig, {"class_weights": "balancd"}, "balancd"),
]


@pytest.mark.parametrize(("kind", "values", "named"), WRONG, ids=[f"{kind.__name__}-{v}" for kind, v, _ in WRONG])
def test_wrong_value_is_refused_when_the_recipe_is_made(kind, values, named):
    with pytest.raises(InputError) as caught:
        kind(**values)
    assert named in str(caught.value)


def test_recipes_are_frozen_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_recipe("standard").epochs = 3
    with pytest.raises(TypeError):
        Recipe("standard", 3)


@pytest.mark.parametrize("name", DEFAULT_LR)
def test_resolved_recipe_has_nothing_left_open(name):
    recipe = Recipe(optimizer=OptimizerConfig(name=name)).resolved(images=True, mirror=True)
    assert recipe.optimizer.lr == DEFAULT_LR[name]
    assert recipe.augment.flip is True
    assert recipe.augment.shift > 0
    assert recipe.averaging == "flip"
    assert recipe.resolved(images=False, mirror=False) == recipe


def test_images_that_must_not_be_mirrored_are_not():
    recipe = Recipe().resolved(images=True, mirror=False)
    assert (recipe.augment.flip, recipe.averaging) == (False, "none")


def test_tensors_of_ones_own_are_left_alone_unless_asked():
    recipe = Recipe().resolved(images=False, mirror=False)
    assert (recipe.augment.flip, recipe.augment.shift) == (False, 0.0)
    asked = Recipe(augment=AugmentConfig(flip=True, shift=0.25)).resolved(images=False, mirror=False)
    assert (asked.augment.flip, asked.augment.shift) == (True, 0.25)


def photo_folder(folder, side: int) -> str:
    from PIL import Image

    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (side + 20, side), (90, 20, 90)).save(folder / name / "0.png")
    return str(folder)


def test_auto_takes_photos_for_transfer_and_everything_small_or_named_for_standard(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    photos, small = photo_folder(tmp_path / "photos", 200), photo_folder(tmp_path / "small", 32)
    assert auto.choose(photos).recipe == "transfer"
    assert "2 images, the first of 200 pixels" in auto.choose(photos).reason
    for choice in (auto.choose(small), auto.choose("digits"), auto.choose(photos, model_named=True)):
        assert choice.recipe == "standard"
        assert "\n" not in choice.reason
    monkeypatch.setattr(auto, "MOST_IMAGES", 1)
    assert auto.choose(photos).recipe == "standard"
    monkeypatch.undo()
    monkeypatch.setattr(auto, "_SHIPS_WEIGHTS", "a-package-that-is-not-there")
    assert "truefit[pretrained]" in auto.choose(photos).reason


def test_the_command_chooses_by_the_data_unless_a_recipe_is_named(tmp_path):
    pytest.importorskip("timm")
    photos = photo_folder(tmp_path / "photos", 200)
    chosen = parse_train([photos, "--batch-size", "7"])
    assert (chosen.config.recipe.name, chosen.config.recipe.batch_size) == ("transfer", 7)
    assert chosen.config.model == "timm:tf_efficientnet_lite0"
    assert parse_train([photos, "--recipe", "auto"]).config == parse_train([photos]).config
    assert parse_train([photos, "--recipe", "quick"]).config.recipe.name == "quick"
    assert parse_train([photos, "--model", "resnet18"]).config.recipe.name == "standard"
    assert parse_train(["digits"]).config == parse_train(["digits", "--recipe", "standard"]).config


def test_recipes_are_listed_and_shown_as_files_that_can_be_copied(capsys):
    assert main(["recipe", "list"]) == 0
    listed = capsys.readouterr().out
    assert {line.split()[0] for line in listed.splitlines()} == set(recipe_names())
    assert main(["recipe", "show", "best"]) == 0
    namespace: dict[str, object] = {}
    exec(capsys.readouterr().out, namespace)
    assert namespace["RECIPE"] == find_recipe("best")
    assert main(["recipe", "show", "bets"]) == 2
    assert main(["recipe", "show"]) == 2


def test_images_are_not_shrunk_below_what_the_model_takes() -> None:
    data = load_data("digits", image_size=28)
    said: list[Event] = []
    recipe = dataclasses.replace(find_recipe("quick"), augment=AugmentConfig(start_shrink=0.75, shrink=0.8))
    trainer = Trainer("convnet", recipe, observers=[said.append])
    run = trainer.fit(data.train.subset(np.arange(64)), data.validation)
    how = run.config["recipe"]["augment"]
    assert (round(28 * how["start_shrink"]), round(28 * how["shrink"])) == (24, 24)
    assert [event.text for event in said if isinstance(event, Note) and "24 pixels at least" in event.text]


@pytest.mark.parametrize(
    ("samples", "size"),
    [(None, 160), (50_000, 160), (6_400, 160), (6_399, 152), (3_000, 72), (1_149, 24), (700, 16), (5, 16)],
)
def test_small_data_gets_smaller_batches_down_to_sixteen(samples, size):
    fitted = Recipe(batch_size=160, least_steps=40).for_samples(samples)
    assert (fitted.batch_size, fitted.least_steps) == (size, 0)
    assert samples is None or size in (16, 160) or samples // size >= 40
    assert Recipe(batch_size=8, least_steps=40).for_samples(samples).batch_size == 8
    assert Recipe(batch_size=160).for_samples(samples).batch_size == 160
    # The parts that a batch is cut into stay as large as they were: here 40 samples, and 5.
    parts = Recipe(batch_size=160, least_steps=40, accumulate=4).for_samples(samples)
    assert (parts.batch_size, parts.accumulate) == (size, {160: 4, 152: 4, 72: 2, 24: 1, 16: 1}[size])
    assert Recipe(batch_size=160, least_steps=40, accumulate=32).for_samples(5).accumulate == 4


def test_a_batch_size_that_is_asked_for_is_taken_however_small_the_data(tmp_path):
    def least(*words):
        return parse_train(["digits", *words]).config.recipe.least_steps

    assert least() == least("--recipe", "quick") == least("--epochs", "3") == 40
    assert least("--batch-size", "160") == least("--batch_size=64") == least("--batch-size", "auto") == 0
    assert least("--batch-size", "160", "--least-steps", "7") == 7
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: {batch_size: 160}")
    assert least("--config", str(file)) == 0
    file.write_text("recipe: {epochs: 3}")
    assert least("--config", str(file)) == 40


def test_a_training_on_little_data_says_how_large_its_batches_are_and_goes_on_with_them(tmp_path):
    labels = np.arange(90) % 3
    pixels = np.random.default_rng(0).integers(0, 256, (90, 24, 24, 3), dtype=np.uint8)
    data = ImageSet(split="train", classes=("a", "b", "c"), labels=labels, pixels=pixels, image_size=24)
    said = []

    def fit(epochs, **more):
        trainer = Trainer("convnet", "standard", epochs=epochs, device="cpu", observers=[said.append])
        return trainer.fit(data, out=tmp_path / "run", report=False, **more)

    run = fit(2)
    assert (run.config["recipe"]["batch_size"], run.config["recipe"]["least_steps"]) == (16, 0)
    notes = [event.text for event in said if isinstance(event, Note)]
    assert "batches of 16 instead of 160, as there are 90 samples (--batch-size says otherwise)" in notes
    assert len(fit(2, resume=True).history) == 2
    again = json.loads((tmp_path / "run" / "config.json").read_text())
    assert again["recipe"]["batch_size"] == 16
