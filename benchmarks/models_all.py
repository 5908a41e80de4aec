"""Every classifier of torchvision, and 60 models of timm: built, trained for three steps, saved, loaded, the same.

    python benchmarks/models_all.py FOLDER [--seconds 700] [--only NAME ...]

FOLDER receives a run at a time, and keeps none. A model that is not reached within --seconds is listed as not tried.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import protocol
import torch
import torchvision

import truefit
from truefit import InputError, Recipe, Trainer
from truefit.data.imageset import ImageSet
from truefit.models.lookup import build_model, image_sizes, model_names
from truefit.recipes.recipe import AugmentConfig, OptimizerConfig

WORDS = """Each model by its name, with random weights, at the smallest side that it takes (from 32, 64, 96, 128 and its
usual one): three optimiser steps of two images, saved, loaded in the same process, and asked for the classes of four
images. same: probabilities differ by at most 1e-5. Of timm: its test models, then one of each module whose name tells
that it is small, up to 60."""
SIDES = (32, 64, 96, 128)
TIMM = 60
# Parts of names that tell the smaller ones of a family.
SMALL = ("tiny", "nano", "_xs", "_s", "18", "050", "b0")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=700)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--name", default="models_all")
    given = parser.parse_args()
    named = [n for n in model_names() if ":" not in n and n != "convnet"]
    # The largest last: should the time be up, it is they that are not tried.
    names = given.only or sorted([*named, *timm_names()], key=parameters)
    begun = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for name in names:
        if time.perf_counter() - begun > given.seconds:
            rows.append({"model": name, "outcome": "not tried: the time was up"})
            continue
        row = tried(name, given.folder)
        print(row, flush=True)
        rows.append(row)
    counts = {
        "models": len(rows),
        "same": sum(row["outcome"] == "same" for row in rows),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    print(counts)
    protocol.save(
        f"short/{given.name}" if given.only else given.name, " ".join(WORDS.split()), {**counts, "rows": rows}
    )


def timm_names() -> list[str]:
    """60 models of timm that need little: the test models of each kind, then the smallest of each module."""
    import timm

    found: list[str] = [name for name in timm.list_models() if name.startswith("test_")]
    for module in timm.list_modules():
        usable = [name for name in timm.list_models(module=module) if not name.startswith("test_")]
        small = [
            name for name in usable if any(word in name for word in ("tiny", "nano", "_xs", "_s", "18", "050", "b0"))
        ]
        found += sorted(small or usable, key=len)[:1]
    return [f"timm:{name}" for name in dict.fromkeys(found)][:TIMM]


def parameters(name: str) -> int:
    """How many the model has, found without making them."""
    if name in torchvision.models.list_models():
        return int(torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"])
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(name, 3).parameters())


def tried(name: str, folder: Path) -> dict[str, Any]:
    """What became of one model."""
    begun = time.perf_counter()
    smallest, usual, _ = image_sizes(name)
    outcome, side = "", 0
    for side in sorted({max(side, smallest) for side in SIDES if side < usual} | {usual}):
        try:
            outcome = compared(name, side, folder)
            break
        except InputError as error:
            outcome = f"refused: {error}"  # too small a picture, as a rule: the next side
        except Exception as error:
            outcome = f"failed: {error!r}"
            break
    return {"model": name, "side": side, "outcome": outcome, "seconds": round(time.perf_counter() - begun, 1)}


def compared(name: str, side: int, folder: Path) -> str:
    draw = np.random.default_rng(0)
    images = ImageSet(
        split="train",
        classes=("a", "b", "c"),
        labels=np.array([0, 1, 2, 0, 1, 2]),
        pixels=draw.integers(0, 256, (6, side, side, 3), np.uint8),
        image_size=side,
    )
    recipe = Recipe(
        name="three-steps",
        epochs=1,
        batch_size=2,
        optimizer=OptimizerConfig(name="sgd", lr=1e-4, momentum=0.0, nesterov=False),
        augment=AugmentConfig(flip=False, shift=0.0),
    )
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    try:
        trainer = Trainer(name, recipe, device="cpu", monitors=False, observers=[lambda event: None])
        run = trainer.fit(images, out=out, report=False, checkpoint_every="never")
        shown = list(images.pixels[:4])
        before = run.predictor.predict(shown).probabilities
        after = truefit.load(out, device="cpu").predictor.predict(shown).probabilities
    finally:
        shutil.rmtree(out, ignore_errors=True)
    difference = float(np.abs(before - after).max())
    return "same" if difference <= 1e-5 else f"differs by {difference:.3g}"


if __name__ == "__main__":
    main()
