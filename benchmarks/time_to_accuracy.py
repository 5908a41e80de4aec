"""How long until the classifier is good? Recipes against ten epochs of the hand-written class.

    python benchmarks/time_to_accuracy.py FOLDER [--recipes quick:5 standard:3] [--variant float32] [-- OPTIONS]

RECIPE:N trains with seeds 0 to N - 1. OPTIONS are further ones of truefit train.

FOLDER holds train/ and test/ of CIFAR-10, JPEG edition. Both sides train ConvNet on all 50,000 images, which lie
decoded in memory; test is looked at by the hand-written class after each epoch, as people do, and by truefit once at
the end. The sides take turns in one run: some epochs by hand, one whole training, and so on, each alone on the
machine; all recipes are held against the same epochs by hand. A file of results also says when the class by hand
first reached what truefit's trainings reach on average.
history_seconds are those of the epochs, evaluation_seconds of the look at test with all its figures, and fit_seconds
the whole of `Trainer.fit` in the command, with the run folder.
Writes results/time_to_accuracy[-RECIPE][-VARIANT].json, for quick without its name.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import cifar10, save
from torch.utils.data import TensorDataset

HAND_EPOCHS = 10


def by_hand(pipe: Connection, folder: Path) -> None:
    """A process that trains one epoch by hand whenever it is told to."""
    from peer.handwritten import Classifier

    from truefit import ImageSet, load_data

    def tensors(images: ImageSet) -> TensorDataset:
        pixels = torch.from_numpy(images.read(range(len(images))))
        return TensorDataset(
            pixels.permute(0, 3, 1, 2).contiguous().float() / 255, torch.from_numpy(images.labels.astype(np.int64))
        )

    data = load_data(folder, val_fraction=0)
    assert data.test is not None
    training_set, test_set = tensors(data.train), tensors(data.test)
    torch.manual_seed(0)
    classifier = Classifier()
    pipe.send(torch.get_num_threads())
    while pipe.recv():
        start = time.perf_counter()
        _, test = classifier.epoch(training_set, test_set)
        pipe.send({"seconds": time.perf_counter() - start, "test_accuracy": test})


def by_truefit(folder: Path, recipe: str, seed: int, more: list[str]) -> dict[str, Any]:
    """One whole training by the command."""
    truefit = str(Path(sys.executable).with_name("truefit"))
    with tempfile.TemporaryDirectory() as out:
        command = [truefit, "train", str(folder), "--recipe", recipe, "--val-fraction", "0", "--seed", str(seed)]
        done = subprocess.run(
            [*command, "--out", f"{out}/run", "--json", "--quiet", *more], stdout=subprocess.PIPE, check=True
        )
        settings = json.loads(Path(out, "run", "config.json").read_text(encoding="utf-8"))["settings"]
    told = json.loads(done.stdout)
    return {
        "accuracy": told["evaluation"]["accuracy"],
        "n": told["evaluation"]["n"],
        "history_seconds": told["seconds"],
        "evaluation_seconds": told["evaluation_seconds"],
        "fit_seconds": told["fit_seconds"],
        "training_precision": settings["training_precision"],
    }


def main() -> None:
    words = sys.argv[1:]
    more = words[words.index("--") + 1 :] if "--" in words else []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["quick:5"])
    parser.add_argument("--hand-epochs", type=int, default=HAND_EPOCHS)
    parser.add_argument("--variant", default="")
    options = parser.parse_args(words[: len(words) - len(more) - 1] if "--" in words else words)
    for recipe in options.recipes:
        if not re.fullmatch(r"[^:]+:[1-9][0-9]*", recipe):
            parser.error(f'--recipes: found "{recipe}", wanted a recipe and a number of seeds, such as quick:5')
    trainings = spread(options.recipes)
    folder = cifar10(options.folder)
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=by_hand, args=(there, folder), daemon=True)
    process.start()
    threads = here.recv()
    hand: list[dict[str, float]] = []
    found: dict[str, dict[str, dict[str, Any]]] = {recipe: {} for recipe, _ in trainings}
    for number, (recipe, seed) in enumerate(trainings, 1):
        while len(hand) < round(options.hand_epochs * number / len(trainings)):
            here.send(True)
            hand.append(here.recv())
            print("by hand", hand[-1], flush=True)
        found[recipe][str(seed)] = by_truefit(folder, recipe, seed, more)
        print(recipe, seed, found[recipe][str(seed)], flush=True)
    here.send(False)
    for recipe, runs in found.items():
        names = ["time_to_accuracy", *([recipe] if recipe != "quick" else []), options.variant]
        save(
            "-".join(filter(None, names)),
            f"in turns on one machine: the hand-written class's {len(hand)} epochs, and {len(trainings)} times "
            f"truefit train FOLDER --recipe {' or '.join(found)} --val-fraction 0 {' '.join(more)}".rstrip()
            + f" (here: {recipe}), one seed at a time, the epochs by hand spread evenly between them; decoding left "
            "out on both sides; CIFAR-10 JPEG edition, 50,000 training images, accuracy on the 10,000 test images "
            "(truefit: once, at the end; logits averaged over mirror images)",
            {"by_hand": hand, "truefit": runs, "threads_by_hand": threads, **compared(hand, list(runs.values()))},
        )


def spread(recipes: list[str]) -> list[tuple[str, int]]:
    """The trainings of all recipes, (name, seed), those of each spread evenly over the whole."""
    counts = {name: int(count) for name, _, count in (recipe.partition(":") for recipe in recipes)}
    return sorted(
        ((name, seed) for name, count in counts.items() for seed in range(count)),
        key=lambda training: (training[1] + 0.5) / counts[training[0]],
    )


def compared(hand: list[dict[str, float]], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The seconds of both sides and the accuracies of one recipe's trainings."""
    whole = sum(epoch["seconds"] for epoch in hand)
    fits = [run["fit_seconds"] for run in runs]
    measured = statistics.median(run["history_seconds"] + run["evaluation_seconds"] for run in runs)
    accuracies = [run["accuracy"] for run in runs]
    mean = statistics.mean(accuracies)
    # When the class by hand is first as good on average as truefit's trainings are; None where it never is.
    until = next((number for number, epoch in enumerate(hand, 1) if epoch["test_accuracy"] >= mean), None)
    as_good = None if until is None else sum(epoch["seconds"] for epoch in hand[:until])
    return {
        "hand_seconds": round(whole, 1),
        "hand_last_test_accuracy": hand[-1]["test_accuracy"],
        "history_seconds_median": statistics.median(run["history_seconds"] for run in runs),
        "history_and_evaluation_seconds_median": round(measured, 2),
        "times_faster_with_evaluation": round(whole / measured, 2),
        "fit_seconds_median": statistics.median(fits),
        "fit_seconds_range": [min(fits), max(fits)],
        "times_faster_median": round(whole / statistics.median(fits), 2),
        "times_faster_slowest": round(whole / max(fits), 2),
        "hand_epochs_until_as_good": until,
        "hand_seconds_until_as_good": None if as_good is None else round(as_good, 1),
        "times_faster_to_the_same": None if as_good is None else round(as_good / statistics.median(fits), 1),
        "accuracy_mean": round(mean, 5),
        "accuracy_lowest": min(accuracies),
    }


if __name__ == "__main__":
    main()
