"""What `standard` reaches on little data, with the batches that it makes of it and with its batches of 160 as they are.

    python benchmarks/small_data.py FOLDER [--images 300 1000 3000] [--seeds 0 1 2]

FOLDER holds train/ and test/ of CIFAR-10, JPEG edition. Of each class as many images of train/, by a shuffle that is
the same for all, are trained on; nothing is held out, and each training is measured once on the 10,000 test images. The
rule (`Recipe.least_steps`) was chosen on images held out of train. Writes results/small_data.json.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from protocol import cifar10, save

from truefit import Trainer, find_recipe, load_data
from truefit.data.imageset import Data
from truefit.learning import nested


def trained(data: Data, *, number: int, least_steps: int, seed: int) -> dict[str, Any]:
    """Accuracy on test, seconds of training, and the batch that was taken."""
    recipe = replace(find_recipe("standard"), least_steps=least_steps)
    (part,) = nested(data.train, [number / len(data.train)], seed=0)
    small = replace(data, train=part)
    run = Trainer("convnet", recipe, seed=seed, observers=[lambda event: None]).fit(small)
    assert run.evaluation is not None
    return {
        "batch_size": run.config["recipe"]["batch_size"],
        "correct": run.evaluation.correct,
        "accuracy": run.evaluation.accuracy,
        "seconds": round(sum(record["seconds"] for record in run.history), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    data = load_data(str(cifar10(options.folder)), val_fraction=0)
    ways = {"standard": find_recipe("standard").least_steps, "batches of 160": 0}
    result: dict[str, Any] = {}
    for number in options.images:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for seed in options.seeds:
            for name, least in ways.items():
                found[name].append(trained(data, number=number, least_steps=least, seed=seed))
                print(number, name, found[name][-1], flush=True)
        result[str(number)] = {
            name: {
                "batch_size": runs[0]["batch_size"],
                "mean_accuracy": round(statistics.mean(run["accuracy"] for run in runs), 4),
                "runs": runs,
            }
            for name, runs in found.items()
        }
    save(
        "small_data",
        "ConvNet, recipe standard, 10 epochs, so many images of CIFAR-10's train/ (JPEG edition, equally many of each "
        f"class), nothing held out; measured once on the 10,000 test images; seeds {options.seeds}",
        {"images": result},
    )


if __name__ == "__main__":
    main()
