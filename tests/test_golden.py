"""The golden batch names the stage that changed since the model was stored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import truefit
from truefit import ImageSet, InputError, Recipe, Trainer
from truefit.data import images as decoding
from truefit.data.augment import Pipeline
from truefit.runs.files import file_digest, read_tensors, write_tensors


def pictures(n: int, split: str) -> ImageSet:
    pixels = np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    return ImageSet(split=split, classes=("a", "b"), labels=np.arange(n) % 2, pixels=pixels, image_size=32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("golden") / "run"
    Trainer("convnet", Recipe(epochs=1, batch_size=16)).fit(
        pictures(32, "train"), pictures(16, "validation"), out=place, report=False
    )
    return place


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def message(run: Path) -> str:
    with pytest.raises(InputError, match="golden batch") as caught:
        truefit.load(run)
    return str(caught.value)


def test_an_unchanged_run_loads(run: Path) -> None:
    truefit.load(run)


def test_a_changed_normalisation_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Pipeline._normalise
    monkeypatch.setattr(Pipeline, "_normalise", lambda self, images: right(replace(self, scale=254.0), images))
    said = message(run)
    assert "preprocessing changed: prepared values" in said
    assert "network" not in said


def test_swapped_channels_are_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Pipeline._normalise
    monkeypatch.setattr(Pipeline, "_normalise", lambda self, images: right(self, images.flip(3)))
    assert "preprocessing changed: prepared values" in message(run)


@pytest.mark.parametrize("how", ["interpolation", "orientation"])
def test_changed_decoding_or_resizing_is_named(run: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "orientation":
        monkeypatch.setattr(decoding, "_UPRIGHT", {})
    else:
        monkeypatch.setitem(decoding._RESAMPLING, "bicubic", Image.Resampling.BILINEAR)
    assert "preprocessing changed: decoding and resizing" in message(run)


def test_changed_weights_are_named_and_the_versions_since(run: Path) -> None:
    model = run / "model"
    weights = read_tensors(model / "weights.safetensors")
    weights["conv7.bias"] += torch.tensor([0.5, 0.0])
    write_tensors(model / "weights.safetensors", weights)
    description = json.loads((model / "model.json").read_text())
    description["digests"]["weights"] = file_digest(model / "weights.safetensors")
    (model / "model.json").write_text(json.dumps(description))
    said = message(run)
    assert "network or weights changed: logits differ by up to 0.5" in said
    assert "versions since then: the same" in said

    config = json.loads((run / "config.json").read_text())
    config["versions"]["torch"] = "1.13.0"
    (run / "config.json").write_text(json.dumps(config))
    assert f"torch 1.13.0, now {version('torch')}" in message(run)


def test_other_versions_alone_are_no_error(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["versions"]["torch"] = "1.13.0"
    (run / "config.json").write_text(json.dumps(config))
    truefit.load(run)


class NotFiniteInEval(torch.nn.Module):
    """What a deep network with BatchNorm can be after a few steps: fine in train mode, overflowing in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * 32 * 32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x.flatten(1))
        return out if self.training else out * float("inf") * 0


def test_a_model_without_finite_outputs_is_refused_and_no_file_of_it_stands(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outputs are not finite") as caught:
        Trainer(NotFiniteInEval(), Recipe(epochs=1, batch_size=16)).fit(
            pictures(32, "train"), out=tmp_path / "run", report=False
        )
    assert "running statistics" in str(caught.value)
    assert not (tmp_path / "run" / "model" / "model.json").exists()
