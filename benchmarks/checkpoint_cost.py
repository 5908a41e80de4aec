"""What does keeping the state of a training cost?

    python benchmarks/checkpoint_cost.py FOLDER [--epochs 2]

1. CIFAR-10 training (FOLDER, JPEG edition) with the default --checkpoint-every 60s, measured inside the process: the
   seconds that the step waited (copying and waiting), and those that the writing thread took, as shares of
   the training's wall time.
2. A state of 100 MB saved while a loop of small steps runs: the longest time between two steps.

Writes results/checkpoint_cost.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from protocol import cifar10, save

from truefit import Trainer
from truefit.checkpoint.interval import Interval
from truefit.checkpoint.saver import Saver
from truefit.checkpoint.signals import Signals
from truefit.checkpoint.store import Position, Store
from truefit.events import PassSoFar, StepFinished, nobody
from truefit.fitting.keeping import Keeping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    result = {"training": in_training(cifar10(options.folder), options.epochs), "state_of_100_mb": large_state()}
    print(result)
    save(
        "checkpoint_cost",
        f"truefit's Trainer, convnet, CIFAR-10 JPEG edition, {options.epochs} epochs, --checkpoint-every 60s, shares "
        "of the wall time of the training measured inside the process; 100 MB: five saves during steps of about 1 ms, "
        "the longest time between two steps, and how long it was without saving",
        result,
    )


def in_training(folder: Path, epochs: int) -> dict[str, float]:
    made: list[Saver] = []
    make = Keeping.saver

    def keep(self: Keeping, *arguments: Any) -> Saver:
        made.append(make(self, *arguments))
        return made[-1]

    Keeping.saver = keep  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as out:
        run = Trainer("convnet", epochs=epochs).fit(str(folder), out=Path(out) / "run")
    seconds = sum(line["seconds"] for line in run.history)
    (saver,) = made
    return {
        "seconds": round(seconds, 2),
        "checkpoints": saver.saved,
        "step_waited_share": (saver.copying + saver.waiting) / seconds,
        "thread_share": saver.writing / seconds,
        "both": (saver.copying + saver.waiting + saver.writing) / seconds,
    }


def large_state() -> dict[str, float]:
    state = {f"layer{i}": torch.randn(1_000_000) for i in range(25)}
    with tempfile.TemporaryDirectory() as out:
        store = Store(Path(out))
        step = 0
        saver = Saver(store, Interval(epochs=True), lambda: (Position(0, step), state), Signals(), notify=nobody)
        # After the first step the memory for the copies is fetched.
        gaps(saver, 1)
        saver.wait()
        still = gaps(saver, 300)
        longest = []
        for _ in range(5):
            saver.wait()
            step += 1
            start = time.perf_counter()
            saver.end_of_epoch()
            first = time.perf_counter() - start
            longest.append(max(first, *gaps(saver, 600)))
        saver.wait()
    return {
        "longest_between_steps_ms": round(1000 * max(longest), 1),
        "median_of_longest_ms": round(1000 * statistics.median(longest), 1),
        "without_saving_ms": round(1000 * max(still), 1),
    }


def gaps(saver: Saver, steps: int) -> list[float]:
    """Seconds from the end of each small step to that of the next."""
    a = torch.randn(200, 200)
    event = StepFinished(
        epoch=0, step=0, samples=1, loss=torch.zeros(()), so_far=lambda: PassSoFar(losses=[], sizes=[])
    )
    found, last = [], time.perf_counter()
    for _ in range(steps):
        a = torch.tanh(a @ a)
        saver(event)
        now = time.perf_counter()
        found.append(now - last)
        last = now
    return found


if __name__ == "__main__":
    main()
