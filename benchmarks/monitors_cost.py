"""What do the doctor's monitors cost a training?

    python benchmarks/monitors_cost.py [--data FOLDER] [--samples 10000] [--rounds 5]

Trains with each recipe (convnet) on digits, and on CIFAR-10 (FOLDER with train/, the first --samples of it) where
given. Measured inside the process: the seconds in the monitors as a share of the training's wall time, its evaluations
included. On a CPU nothing waits for them elsewhere; on a GPU what they launch is waited for within the same seconds, as
the device is synchronised before and after each call in every second round.

Writes results/monitors_cost.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from protocol import save

from truefit import Trainer, load_data
from truefit.data.imageset import Data
from truefit.events import Event
from truefit.monitors import Monitors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=None)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    sets: dict[str, Data] = {"digits": load_data("digits")}
    if options.data:
        data = load_data(options.data)
        rows = np.linspace(0, len(data.train) - 1, min(options.samples, len(data.train)), dtype=np.int64)
        sets["cifar10"] = replace(data, train=data.train.subset(rows), test=None)
    result = {
        f"{name}, {recipe}": shares(data, recipe, options.rounds, options.epochs)
        for name, data in sets.items()
        for recipe in ("standard", "quick")
    }
    print(result)
    save(
        "monitors_cost",
        f"Trainer, convnet, {options.epochs} epochs, {options.rounds} rounds: seconds inside the monitors by wall time "
        "of the training, measured in the process (in every second round with the device synchronised before and after "
        f"each call). CIFAR-10: {options.samples} images evenly spaced. Bar: below 0.02.",
        {"shares": result},
    )


def shares(data: Data, recipe: str, rounds: int, epochs: int) -> dict[str, Any]:
    """The share of each round: median and largest."""
    found = []
    original = Monitors.__call__
    spent = 0.0
    for number in range(rounds):
        waits = torch.cuda.is_available() and number % 2 == 1

        def timed(self: Monitors, event: Event, waits: bool = waits) -> None:
            nonlocal spent
            if waits:
                torch.cuda.synchronize()
            start = time.perf_counter()
            original(self, event)
            if waits:
                torch.cuda.synchronize()
            spent += time.perf_counter() - start

        spent = 0.0
        Monitors.__call__ = timed  # type: ignore[method-assign]
        try:
            run = Trainer("convnet", recipe, epochs=epochs, seed=number, observers=[lambda event: None]).fit(data)
        finally:
            Monitors.__call__ = original  # type: ignore[method-assign]
        found.append(spent / sum(line["seconds"] for line in run.history))
    return {"median": statistics.median(found), "largest": max(found), "rounds": [round(one, 5) for one in found]}


if __name__ == "__main__":
    main()
