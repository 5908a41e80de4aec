"""The recipe speedrun against the reference script of cifar10-airbench, on one GPU and the same images.

    python benchmarks/speedrun.py CIFAR10 REFERENCE [--runs 20] [--name speedrun]

CIFAR10 has train/ and test/ (see protocol.cifar10); REFERENCE is airbench94_muon.py of github.com/KellerJordan/
cifar10-airbench, which is not part of this project. Both are compiled first, by a run that does not count; then they
take turns, in one process. Reference: its own figures, seconds of whitening, training and evaluation by the events of
the device, without its evaluations after each epoch. truefit: `Trainer("speednet", "speedrun").fit`, seconds of the
host's clock from the first step to the end of the final evaluation on test, figures included; and those of the whole
call, which also checks, counts and hashes the images. Each run has another seed. Writes results/NAME.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from protocol import cifar10, ratio_interval, save

from truefit import Trainer, load_data
from truefit.data.imageset import Data
from truefit.events import EpochFinished, Event, FitStarted
from truefit.provenance import provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--name", default="speedrun")
    options = parser.parse_args()
    data = load_data(str(cifar10(options.folder)), val_fraction=0.0)
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    reference = Reference(options.reference, data)
    for turn in range(-1, options.runs):
        found, wanted = run(data, seed=turn + 1), reference.run("warmup" if turn < 0 else turn)
        print(turn, found, wanted, flush=True)
        if turn >= 0:
            ours.append(found)
            theirs.append(wanted)
    result = {"runs": options.runs, "truefit": columns(ours), "reference": columns(theirs), **compared(ours, theirs)}
    print({name: value for name, value in result.items() if name not in ("truefit", "reference")})
    result |= {"device": torch.cuda.get_device_name(), **provenance(torch.device("cuda"))}
    save(options.name, __doc__ or "", result)


def run(data: Data, *, seed: int) -> dict[str, float]:
    """One training of truefit's: accuracy on test, and seconds."""
    marks: dict[str, float] = {"called": time.perf_counter()}

    def mark(event: Event) -> None:
        if isinstance(event, FitStarted):
            marks["started"] = time.perf_counter()
        if isinstance(event, EpochFinished):
            marks["trained"] = time.perf_counter()

    trained = Trainer("speednet", "speedrun", seed=seed, observers=[mark]).fit(data)
    ended = time.perf_counter()
    assert trained.evaluation is not None
    return {
        "accuracy": trained.evaluation.correct / trained.evaluation.n,
        "seconds": ended - marks["started"],
        "training": marks["trained"] - marks["started"],
        "evaluation": ended - marks["trained"],
        "whole_call": ended - marks["called"],
    }


class Reference:
    """The reference script as a module, with the images of CIFAR-10's folder in place of its download."""

    def __init__(self, script: Path, data: Data) -> None:
        place = Path("/tmp/airbench")
        (place / "cifar10").mkdir(parents=True, exist_ok=True)
        for name, images in (("train", data.train), ("test", data.test)):
            assert images is not None
            assert images.pixels is not None
            content = {
                "images": torch.from_numpy(np.ascontiguousarray(images.pixels)),
                "labels": torch.from_numpy(np.asarray(images.labels, dtype=np.int64)),
                "classes": list(images.classes),
            }
            torch.save(content, place / "cifar10" / f"{name}.pt")
        self.place = place
        self.module = _imported(script.resolve())
        self.seconds = 0.0
        self.module.print_training_details = self._note  # type: ignore[attr-defined]
        self.model = self.module.CifarNet().cuda().to(memory_format=torch.channels_last)
        self.model.compile(mode="max-autotune")

    def _note(self, variables: dict[str, Any], is_final_entry: bool) -> None:
        self.seconds = variables["time_seconds"]

    def run(self, number: int | str) -> dict[str, float]:
        here = Path.cwd()
        benchmark = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            os.chdir(self.place)
            accuracy = self.module.main(number, self.model)
        finally:
            os.chdir(here)
            torch.backends.cudnn.benchmark = benchmark
        return {"accuracy": accuracy, "seconds": self.seconds}


def _imported(script: Path) -> ModuleType:
    before, sys.argv[0] = sys.argv[0], str(script)  # it reads its own text
    benchmark = torch.backends.cudnn.benchmark
    try:
        spec = importlib.util.spec_from_file_location("reference", script)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.argv[0] = before
        torch.backends.cudnn.benchmark = benchmark
    return module


def columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [round(row[name], 5) for row in rows] for name in rows[0]}


def compared(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, Any]:
    """Means of accuracy with their standard errors, and the ratio of medians of seconds with its 95 % interval."""
    result: dict[str, Any] = {}
    for name, rows in (("truefit", ours), ("reference", theirs)):
        found = [row["accuracy"] for row in rows]
        result[f"{name}_accuracy"] = round(statistics.mean(found), 5)
        result[f"{name}_accuracy_standard_error"] = round(statistics.stdev(found) / len(found) ** 0.5, 5)
        result[f"{name}_seconds"] = round(statistics.median(row["seconds"] for row in rows), 4)
    a, b = [row["seconds"] for row in ours], [row["seconds"] for row in theirs]
    result["seconds_ratio"] = round(statistics.median(a) / statistics.median(b), 4)
    result["seconds_ratio_interval"] = ratio_interval(a, b)
    return result


if __name__ == "__main__":
    main()
