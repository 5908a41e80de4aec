"""Promises that a hostile reader tried to break, each by what that reader did."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from truefit import ConvNet, ImageSet, InputError, Recipe, Trainer, accuracy, evaluate, load, train
from truefit.commands import main
from truefit.recipes.recipe import AugmentConfig
from truefit.runs.folder import RunFolder

QUICK = Recipe(epochs=1, batch_size=8)


def images(n: int = 16, split: str = "train", seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    return ImageSet(split=split, classes=("a", "b"), labels=np.arange(n) % 2, pixels=pixels, image_size=32)


def test_a_folder_with_anything_beside_a_run_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        RunFolder.create(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_replaced_run_comes_back_where_the_new_one_comes_to_nothing(tmp_path: Path) -> None:
    old = RunFolder.create(tmp_path / "run")
    old.write_config({"old": True})
    old.release()
    RunFolder.create(tmp_path / "run", overwrite=True).remove()
    assert RunFolder.open(tmp_path / "run").read_config()["old"] is True
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_replaced_run_goes_when_the_new_one_has_an_epoch(tmp_path: Path) -> None:
    old = RunFolder.create(tmp_path / "run")
    old.write_config({"old": True})
    old.release()
    new = RunFolder.create(tmp_path / "run", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 2
    new.add_epoch({"epoch": 1})
    new.release()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_folder_is_claimed_by_one_run(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path / "run")
    with pytest.raises(InputError, match=f"another run is going on(.|\\n)*process {os.getpid()} "):
        RunFolder.create(tmp_path / "run")
    first.release()


def test_a_run_may_be_written_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Trainer("convnet", QUICK).fit(images(), images(8, "validation"), out=".")
    assert load(tmp_path).evaluation is not None


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="this system has no symbolic links")
def test_a_run_may_be_replaced_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for overwrite in (False, True):
        Trainer("convnet", QUICK).fit(images(), out=tmp_path / "link", overwrite=overwrite)
    assert load(tmp_path / "link").weights == "last (epoch 1)"


def test_a_model_that_asks_for_the_version_of_its_state_is_kept_and_read(tmp_path: Path) -> None:
    run = Trainer("mnasnet0_5", QUICK).fit(images(), images(8, "validation"), out=tmp_path / "run")
    assert run.evaluation is not None
    again = load(tmp_path / "run").evaluation
    assert again is not None
    assert again.correct == run.evaluation.correct


def test_a_figure_names_the_split_that_the_images_say(tmp_path: Path) -> None:
    validation, test = images(8, "validation", 1), images(8, "test", 2)
    trainer = Trainer("convnet", QUICK)
    run = trainer.fit(images(), validation, test_set=test, out=tmp_path / "run")
    for measured in (trainer.evaluate(validation), evaluate(load(tmp_path / "run").predictor, validation)):  # type: ignore[arg-type]
        assert (measured.split, measured.selected_on, measured.weights) == ("validation", "validation", run.weights)
        assert "selected on validation" in str(measured)
    assert "selected" not in str(trainer.evaluate(test))
    assert evaluate(ConvNet(2), validation).split == "validation"
    assert evaluate(ConvNet(2), TensorDataset(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))).split == "data"


def test_without_mirroring_in_training_nothing_is_averaged_over_mirror_images() -> None:
    recipe = Recipe(augment=AugmentConfig(flip=False))
    assert recipe.resolved(images=True, mirror=True).averaging == "none"
    assert Recipe().resolved(images=True, mirror=True).averaging == "flip"


def test_data_that_brings_its_splits_takes_no_others() -> None:
    with pytest.raises(InputError, match="brings its own"):
        Trainer("convnet", QUICK).fit("digits", images(8, "validation"))


def test_parts_and_unions_of_image_sets_are_scaled_like_the_whole() -> None:
    torch.manual_seed(0)
    network, whole = ConvNet(2).eval(), images()
    with torch.no_grad():
        logits = network(torch.from_numpy(whole.read(range(16))).permute(0, 3, 1, 2) / 255)
    expected = round(float((logits.argmax(1).numpy() == whole.labels).mean()), 3)
    union = ConcatDataset([Subset(whole, range(8)), Subset(whole, range(8, 16))])
    assert accuracy(network, whole) == accuracy(network, union) == expected
    assert len(train(network, union, 8, torch.optim.SGD(network.parameters(), lr=0.1), nn.CrossEntropyLoss())) == 2


def test_the_trainer_prepares_a_subset_like_the_whole() -> None:
    whole = images()
    subset = Trainer("convnet", QUICK).fit(Subset(whole, range(12)), images(8, "validation"))
    same = Trainer("convnet", QUICK).fit(whole.subset(range(12)), images(8, "validation"))
    assert subset.history[0]["training_loss"] == same.history[0]["training_loss"]
    assert subset.config["predictor"]["mean"] != []


def test_a_model_that_can_not_take_the_size_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wrong size for alexnet"):
        Trainer("alexnet", QUICK).fit(images(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no trainable parameters"):
        Trainer(ConvNet(2).requires_grad_(False), QUICK).fit(images())


def test_an_expanded_buffer_is_no_hindrance() -> None:
    class Expanded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(12, 2)
            self.register_buffer("scale", torch.ones(1).expand(12))

        def forward(self, x: torch.Tensor) -> Any:
            return self.linear(x.flatten(1) * self.scale)

    network = Expanded()
    data = TensorDataset(torch.randn(4, 3, 2, 2), torch.tensor([0, 1, 0, 1]))
    assert len(train(network, data, 2, torch.optim.SGD(network.parameters(), lr=0.1), nn.CrossEntropyLoss())) == 2


def test_the_long_form_of_the_optimizer_brings_its_own_learning_rate(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in (["--optimizer", "adamw"], ["--optimizer.name", "adamw"], ["--optimizer.name=adamw"]):
        assert main(["train", "--print-config", *words]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2]
    assert "lr: null" in shown[0]


def test_a_narrow_terminal_knows_every_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert main(["train", "--print-config", "--optimizer.weight-decay", "0.5"]) == 0
    assert "weight_decay: 0.5" in capsys.readouterr().out


def test_words_after_two_dashes_are_no_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tmp_path), "--", "--weird.png"]) == 2
    assert "unknown option" not in capsys.readouterr().err
