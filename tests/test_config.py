"""Settings: to plain values and back, every mistake named; what a recipe refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from truefit import InputError, Recipe, find_recipe
from truefit.config import from_plain, to_plain
from truefit.recipes.recipe import DEFAULT_LR, DEFAULT_SHIFT, AugmentConfig, LossConfig, OptimizerConfig, ScheduleConfig

UNUSUAL = Recipe(
    name="mine",
    epochs=3,
    batch_size=48,
    accumulate=4,
    optimizer=OptimizerConfig(name="sgd", lr=1e-3, betas=(0.8, 0.99), eps=1e-8, nesterov=False),
    schedule=ScheduleConfig(name="step", warmup=0.0, gamma=0.5),
    loss=LossConfig(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5)),
    augment=AugmentConfig(flip=True, shift=0.1, cutout=0.25),
    clip_norm=1.0,
    early_stopping=2,
    averaging="flip",
    precision="bfloat16",
)


@pytest.mark.parametrize(
    "recipe", [Recipe(), UNUSUAL, Recipe(loss=LossConfig(class_weights="balanced")), find_recipe("standard")]
)
def test_a_recipe_survives_yaml(recipe: Recipe) -> None:
    text = yaml.safe_dump(to_plain(recipe))
    assert from_plain(Recipe, yaml.safe_load(text)) == recipe


def test_what_is_missing_keeps_its_default_or_the_base() -> None:
    assert from_plain(Recipe, {}) == Recipe()
    found = from_plain(Recipe, {"epochs": 7, "optimizer": {"lr": 0.5}}, base=UNUSUAL)
    assert found == dataclasses.replace(UNUSUAL, epochs=7, optimizer=dataclasses.replace(UNUSUAL.optimizer, lr=0.5))


def test_a_number_that_yaml_reads_as_text_is_a_number() -> None:
    assert yaml.safe_load("lr: 1e-3") == {"lr": "1e-3"}
    assert from_plain(Recipe, {"optimizer": {"lr": "1e-3"}}).optimizer.lr == 1e-3
    assert from_plain(Recipe, {"optimizer": {"betas": ["9e-1", 0.99]}}).optimizer.betas == (0.9, 0.99)
    assert from_plain(Recipe, {"clip_norm": 1}).clip_norm == 1.0
    assert type(from_plain(Recipe, {"clip_norm": 1}).clip_norm) is float


@pytest.mark.parametrize(
    ("plain", "where", "fix"),
    [
        ({"epoch": 3}, "Recipe", '"epochs"'),
        ({"batchsize": 3}, "Recipe", '"batch_size"'),
        ({"optimizer": {"learning_rate": 1}}, "optimizer", "lr"),
        ({"optimizer": {"momentun": 1}}, "optimizer", '"momentum"'),
        ({"augment": {"flips": True}}, "augment", '"flip"'),
    ],
)
def test_an_unknown_key_names_its_place_and_the_nearest(plain: Any, where: str, fix: str) -> None:
    with pytest.raises(InputError, match="unknown key") as e:
        from_plain(Recipe, plain)
    assert e.value.details["where"] == where
    assert fix in e.value.details["fix"]


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ({"epochs": "ten"}, "epochs: wrong type"),
        ({"epochs": 1.5}, "epochs: wrong type"),
        ({"epochs": True}, "epochs: wrong type"),
        ({"epochs": None}, "epochs: wrong type"),
        ({"clip_norm": "much"}, "clip_norm: wrong type"),
        ({"clip_norm": True}, "clip_norm: wrong type"),
        ({"optimizer": {"lr": [1]}}, "optimizer.lr: wrong type"),
        ({"optimizer": {"nesterov": 1}}, "optimizer.nesterov: wrong type"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas: wrong length"),
        ({"optimizer": {"betas": [0.9, "x"]}}, r"optimizer.betas\[1\]: wrong type"),
        ({"optimizer": "adam"}, "optimizer: a mapping is wanted"),
        ({"optimizer": {"name": "adan"}}, '(?s)optimizer.name: unknown value.*did you mean "adam"'),
        ({"schedule": {"name": "cosin"}}, '(?s)schedule.name: unknown value.*did you mean "cosine"'),
        ([1, 2], "Recipe: a mapping is wanted"),
        (None, "Recipe: a mapping is wanted"),
    ],
)
def test_a_wrong_value_names_its_place(plain: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_plain(Recipe, plain)


def test_paths_and_tuples_become_plain_values() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Place:
        at: Path
        sizes: tuple[int, ...] = ()

    assert to_plain(Place(at=Path("a/b"), sizes=(1, 2))) == {"at": str(Path("a/b")), "sizes": [1, 2]}
    assert to_plain({"x": (1, Place(at=Path("c")))}) == {"x": [1, {"at": "c", "sizes": []}]}


# --- recipes


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Recipe(batch_size=0), "batch_size"),
        (lambda: Recipe(batch_size=-4), "batch_size"),
        (lambda: Recipe(batch_size=True), "batch_size"),
        (lambda: Recipe(batch_size=2.0), "batch_size"),  # type: ignore[arg-type]
        (lambda: Recipe(epochs=0), "epochs"),
        (lambda: Recipe(epochs=-1), "epochs"),
        (lambda: Recipe(accumulate=0), "accumulate"),
        (lambda: Recipe(accumulate=65), "accumulate"),
        (lambda: Recipe(clip_norm=0.0), "clip_norm"),
        (lambda: Recipe(clip_norm=-1.0), "clip_norm"),
        (lambda: Recipe(early_stopping=0), "early_stopping"),
        (lambda: OptimizerConfig(lr=0.0), "lr"),
        (lambda: OptimizerConfig(lr=-1e-3), "lr"),
        (lambda: OptimizerConfig(lr=float("inf")), "lr"),
        (lambda: OptimizerConfig(lr=float("nan")), "lr"),
        (lambda: OptimizerConfig(weight_decay=-0.1), "weight_decay"),
        (lambda: OptimizerConfig(betas=(0.9, 1.0)), "betas"),
        (lambda: OptimizerConfig(eps=0.0), "eps"),
        (lambda: OptimizerConfig(momentum=1.0), "momentum"),
        (lambda: ScheduleConfig(warmup=1.0), "warmup"),
        (lambda: ScheduleConfig(warmup=-0.1), "warmup"),
        (lambda: ScheduleConfig(final=1.5), "final"),
        (lambda: ScheduleConfig(step_epochs=0), "step_epochs"),
        (lambda: ScheduleConfig(gamma=0.0), "gamma"),
        (lambda: ScheduleConfig(patience=-1), "patience"),
        (lambda: LossConfig(label_smoothing=1.0), "label_smoothing"),
        (lambda: LossConfig(class_weights=(1.0, -1.0)), "class_weights"),
        (lambda: LossConfig(class_weights=(0.0, 0.0)), "class_weights"),
        (lambda: AugmentConfig(shift=0.6), "shift"),
        (lambda: AugmentConfig(cutout=1.1), "cutout"),
        (lambda: AugmentConfig(brightness=-0.1), "brightness"),
        (lambda: AugmentConfig(contrast=2.0), "contrast"),
    ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(make: Any, name: str) -> None:
    with pytest.raises(InputError, match=name):
        make()


def test_settings_are_frozen_and_by_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Recipe("standard")  # type: ignore[misc]


def test_a_resolved_recipe_leaves_nothing_open() -> None:
    pictures = Recipe().resolved(images=True, mirror=True)
    assert (pictures.augment.flip, pictures.augment.shift, pictures.averaging) == (True, DEFAULT_SHIFT, "flip")
    tensors = Recipe().resolved(images=False, mirror=False)
    assert (tensors.augment.flip, tensors.augment.shift, tensors.averaging) == (False, 0.0, "none")
    assert tensors.optimizer.lr == DEFAULT_LR[tensors.optimizer.name]
    assert tensors.optimizer.betas == (0.9, 0.999)
    assert tensors.schedule.warmup is not None
    asked = Recipe(
        augment=AugmentConfig(flip=False, shift=0.5),
        averaging="none",
        optimizer=OptimizerConfig(lr=0.7, betas=(0.8, 0.9)),
        schedule=ScheduleConfig(warmup=0.3),
    )
    assert asked.resolved(images=True, mirror=True) == asked


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(InputError, match="standard"):
        find_recipe("standart")
