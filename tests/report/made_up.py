"""Runs made of chosen predictions, for the tests of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from truefit.data.imageset import ImageSet
from truefit.runs.evaluation import Evaluation
from truefit.runs.record import Record


def config(classes: tuple[str, ...], images: str = "files", side: int = 24) -> dict[str, Any]:
    """As `truefit train digits` writes it, as far as a report reads it."""
    return {
        "data": {
            "splits": {"train": {"n": 400}, "test": {"n": 60, "fingerprint": "blake2b:00"}},
            "classes": list(classes),
            "name": "made up",
            "notes": ["a note"],
        },
        "model": {"name": "convnet", "class": "truefit.models.convnet.ConvNet", "parameters": 198930},
        "recipe": {"name": "standard", "epochs": 3, "optimizer": {"name": "muon", "lr": 0.03}},
        "seed": 0,
        "measure_training": False,
        "predictor": {"classes": list(classes), "images": images, "image_size": side, "resize": "crop"},
        "settings": {"device": "cpu", "threads": 1, "workers": 0},
        "versions": {"truefit": "0.1.0"},
        "commit": None,
        "hardware": {"cpu": "a processor", "threads": 1, "gpu": None},
    }


def epoch(number: int, *, validated: bool = True) -> dict[str, Any]:
    """A line of a history."""
    validation = {"loss": 1 / number, "accuracy": number / 10, "n": 50, "correct": 5 * number, "interval": [0.05, 0.6]}
    return {
        "epoch": number,
        "lr": 0.01 / number,
        "training_loss": 2.0 / number,
        "running_accuracy": number / 10,
        "training_accuracy": None,
        **{f"validation_{name}": value if validated else None for name, value in validation.items()},
        "seconds": 1.5,
        "images_per_second": 800.0,
    }


def evaluation(classes: tuple[str, ...], n: int = 60, seed: int = 0, **about: Any) -> Evaluation:
    """Random predictions that are right more often than not."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    logits = draw.normal(size=(n, len(classes)))
    logits[np.arange(n), labels] += 2.5
    about = {"split": "test", "selected_on": "validation", "weights": "best (epoch 2)"} | about
    return Evaluation.from_logits(logits, labels, classes=classes, **about)


def record(
    classes: tuple[str, ...] = ("ant", "bee", "cat"), n: int = 60, *, images: str = "files", **about: Any
) -> Record:
    """A run of three epochs, evaluated on test; `about` replaces its parts."""
    parts: dict[str, Any] = {
        "folder": None,
        "config": config(classes, images),
        "history": [epoch(number) for number in (1, 2, 3)],
        "evaluation": evaluation(classes, n),
        "weights": "best (epoch 2)",
        "selected_on": "validation",
    }
    return Record(**parts | about)


def pictures(of: Evaluation, side: int = 24) -> ImageSet:
    """An image for each sample of an evaluation: grey, as light as its label says."""
    shade = 40 + 20 * (of.label % 10)
    pixels = np.broadcast_to(shade[:, None, None, None], (of.n, side, side, 3)).astype(np.uint8)
    return ImageSet(
        split="test", classes=of.classes, labels=of.label, pixels=np.ascontiguousarray(pixels), image_size=side
    )


def files(of: Evaluation, folder: Path) -> tuple[str, ...]:
    """The same images as files, in class folders."""
    found = []
    for row, pixels in enumerate(pictures(of).pixels):
        path = folder / str(of.label[row]) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        found.append(str(path))
    return tuple(found)
