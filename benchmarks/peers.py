"""Images a second in training: truefit's Trainer (plain, and as its recipes compute), a bare loop and five frameworks.

    python benchmarks/peers.py --environments DIR [--rounds 15] [--steps 100] [--sides bare truefit_trainer ...]

Each framework gets a virtual environment of its own under DIR (made where missing), so that their pins don't meet;
all share this environment's torch. Every side trains the same ConvNet on the same images in memory (random bytes, 32 x
32), batch 64, Adam 1e-3, the same threads, and what it prints goes to a pseudo terminal, where progress bars are drawn.
A round trains one epoch of STEPS steps on each side, one after the other, in an order that changes; its speed is that
between the moments at which the 11th and the last step begin. Writes results/peers.json: medians, spread, and the
ratio of truefit's speed to each side's, round by round, with the 95 % bootstrap interval of its median.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import random
import statistics
import subprocess
import sys
import threading
import venv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import median_interval, save

HERE = Path(__file__).resolve().parent
BATCH, WARM_UP = 64, 10
PACKAGES = {
    "bare": None,
    "truefit_trainer": None,
    "truefit_fastest": None,
    "lightning_trainer": "lightning",
    "skorch_net": "skorch",
    "fastai_learner": "fastai",
    "keras_model": "keras",
    "accelerate_loop": "accelerate",
}
# The second computes as the recipes do, in another way with other rounding; the first as all others do.
OURS = ("truefit_trainer", "truefit_fastest")


def python_of(side: str, environments: Path) -> str:
    """The interpreter of a side's environment, which is made where it is missing."""
    package = PACKAGES[side]
    if package is None:
        return sys.executable
    folder = environments / package
    python = folder / "bin" / "python"
    if not (folder / "made").is_file():
        venv.create(folder, with_pip=True, clear=True)
        site = next(folder.glob("lib/python*/site-packages"))
        shared = [path for path in sys.path if path.endswith("site-packages")]
        (site / "shared.pth").write_text("\n".join(shared) + "\n")
        constraints = HERE.parent / "constraints.txt"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(constraints), package], check=True)
        (folder / "made").touch()
    return str(python)


class Side:
    """A process that waits between its epochs."""

    def __init__(self, name: str, python: str, images: int, threads: int) -> None:
        self.name = name
        terminal, end = pty.openpty()
        threading.Thread(target=_drain, args=(terminal,), daemon=True).start()
        paths = [str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [python, "-m", "peer.side", name, str(images), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=end,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100", "TERM": "xterm"},
        )
        os.close(end)
        self.made = self._read()
        self.peak_mb = 0

    def epoch(self) -> float:
        """Train one epoch; images a second."""
        assert self.process.stdin is not None
        self.process.stdin.write("epoch\n")
        self.process.stdin.flush()
        told = self._read()
        self.peak_mb = told["peak_mb"]
        stamps = told["stamps"]
        return float(BATCH * (len(stamps) - 1 - WARM_UP) / (stamps[-1] - stamps[WARM_UP]))

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} broke off with exit code {self.process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass  # the other end was closed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sides", nargs="+", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--name", default="peers")
    options = parser.parse_args()
    pythons = {side: python_of(side, options.environments) for side in options.sides}
    sides = [Side(name, python, options.steps * BATCH, options.threads) for name, python in pythons.items()]
    speeds: dict[str, list[float]] = {side.name: [] for side in sides}
    for side in sides:
        side.epoch()  # the first one warms up
    order = random.Random(0)
    for number in range(options.rounds):
        for side in order.sample(sides, len(sides)):
            speeds[side.name].append(side.epoch())
        print(number + 1, {name: round(found[-1]) for name, found in speeds.items()}, flush=True)
    result: dict[str, Any] = {}
    for side in sides:
        found = speeds[side.name]
        result[side.name] = {
            "images_per_second_median": round(statistics.median(found), 1),
            "images_per_second_quartiles": [round(float(q), 1) for q in np.percentile(found, [25, 75])],
            "import_and_prepare_seconds": side.made["import_and_prepare_seconds"],
            "peak_mb": side.peak_mb,
        }
        for ours, key in (("truefit_trainer", "truefit"), ("truefit_fastest", "truefit_fastest")):
            if side.name not in OURS and ours in speeds:
                ratios = [our / their for our, their in zip(speeds[ours], found, strict=True)]
                result[side.name][f"{key}_is_faster_by"] = round(statistics.median(ratios), 3)
                result[side.name][f"{key}_interval"] = median_interval(ratios)
        if PACKAGES[side.name]:
            code = f"from importlib.metadata import version; print(version({PACKAGES[side.name]!r}))"
            done = subprocess.run([pythons[side.name], "-c", code], stdout=subprocess.PIPE, text=True, check=True)
            result[side.name]["version"] = done.stdout.strip()
    protocol = (
        f"{options.rounds} rounds in one run, each side in turn in random order; {options.steps} steps of {BATCH} a "
        "round after one of warm-up; ConvNet, 32 x 32, Adam 1e-3, images in memory; speed from the 11th step to the "
        "last; ratio: median over rounds of truefit's speed by the side's in the same round, 95 % bootstrap interval"
    )
    save(options.name, protocol, {"rounds": options.rounds, "threads_each": options.threads, "sides": result})
    for side in sides:
        assert side.process.stdin is not None
        side.process.stdin.close()
        side.process.wait(timeout=60)


if __name__ == "__main__":
    main()
