"""What does an image cost when there are more of them, or larger ones, or larger batches, or more threads?

    python benchmarks/scaling.py FOLDER [--largest 1000000] [--rounds 3] [--name scaling]

Makes FOLDER/pixels-N-SIDE.npy where missing (random bytes on disk, mapped, not read into memory). Each point is one
epoch of `Trainer.fit`, in a process of its own, with a network of one linear layer over 4 x 4 averages, so that the
cost is that of the data path and the loop; mirrored and shifted, batch 64. Points are taken in turns. Writes
results/scaling.json: microseconds an image for each point; the slope of log(epoch seconds) over log(images), which is 1
where the cost is linear, with its 95 % interval; peak memory without mapped pages.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from protocol import save
from scipy import stats

POINT = """
import json, resource, sys, time
import numpy as np, torch
from torch import nn
from truefit import ImageSet, Trainer
from truefit.recipes.recipe import AugmentConfig, OptimizerConfig, Recipe
path, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
pixels = np.load(path, mmap_mode="c")
data = ImageSet(split="train", classes=tuple("abcdefghij"), labels=np.arange(len(pixels)) % 10, pixels=pixels,
                image_size=pixels.shape[1])
side = pixels.shape[1]
network = nn.Sequential(nn.AvgPool2d(side // 4), nn.Flatten(), nn.Linear(48, 10))
recipe = Recipe(epochs=1, batch_size=batch, optimizer=OptimizerConfig(name="sgd", lr=1e-3),
                augment=AugmentConfig(flip=True, shift=0.1))
marks = {}
def watch(event):
    name = type(event).__name__
    if name in ("PassStarted", "PassFinished"):
        marks[name] = time.perf_counter()
Trainer(network, recipe, observers=[watch]).fit(data)
own = sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous"))
print(json.dumps({"seconds": marks["PassFinished"] - marks["PassStarted"], "own_mb": round(own / 1024)}))
"""


def pixels(folder: Path, images: int, side: int) -> Path:
    """A file of random images (images, side, side, 3), uint8, written piece by piece."""
    path = folder / f"pixels-{images}-{side}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part.npy")
        made = np.lib.format.open_memmap(temporary, "w+", np.uint8, (images, side, side, 3))
        rng = np.random.default_rng(0)
        for start in range(0, images, 10_000):
            made[start : start + 10_000] = rng.integers(0, 256, made[start : start + 10_000].shape, dtype=np.uint8)
        made.flush()
        temporary.rename(path)
    return path


def point(path: Path, batch: int, threads: int) -> dict[str, float]:
    """One epoch in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", POINT, str(path), str(batch), str(threads)]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="scaling")
    options = parser.parse_args()
    counts = [count for count in (1_000, 10_000, 30_000, 100_000, 300_000, 1_000_000) if count <= options.largest]
    points: list[dict[str, Any]] = [
        {"axis": "images", "images": n, "side": 32, "batch": 64, "threads": 2} for n in counts
    ]
    points += [{"axis": "side", "images": 4_000, "side": s, "batch": 64, "threads": 2} for s in (32, 64, 128, 224)]
    points += [{"axis": "batch", "images": 30_000, "side": 32, "batch": b, "threads": 2} for b in (16, 64, 256, 1024)]
    points += [{"axis": "threads", "images": 30_000, "side": 32, "batch": 64, "threads": t} for t in (1, 2)]
    for each in points:
        each["seconds"], each["own_mb"] = [], 0
    for number in range(options.rounds):
        for each in points:
            found = point(pixels(options.folder, each["images"], each["side"]), each["batch"], each["threads"])
            each["seconds"].append(round(found["seconds"], 4))
            each["own_mb"] = max(each["own_mb"], found["own_mb"])
            print(number + 1, each, flush=True)
    for each in points:
        each["microseconds_an_image"] = round(1e6 * statistics.median(each["seconds"]) / each["images"], 2)
    measured = [
        (n["images"], s) for n in points if n["axis"] == "images" and n["images"] >= 10_000 for s in n["seconds"]
    ]
    logs = np.log(np.array(measured, float))
    fit = stats.linregress(logs[:, 0], logs[:, 1])
    half = float(stats.t.ppf(0.975, len(logs) - 2) * fit.stderr)
    save(
        options.name,
        f"{options.rounds} rounds in turns, one process an epoch; random images mapped from disk; flip and shift; "
        "linear model on 4 x 4 averages; slope of log seconds over log images from 10,000 images on, t interval",
        {
            "points": points,
            "slope": round(float(fit.slope), 4),
            "slope_interval": [round(float(fit.slope) - half, 4), round(float(fit.slope) + half, 4)],
            "cost_ratio_largest_to_10000": round(
                statistics.median(s for n, s in measured if n == max(counts))
                / statistics.median(s for n, s in measured if n == 10_000)
                / (max(counts) / 10_000),
                3,
            ),
        },
    )
    assert math.isfinite(fit.slope)


if __name__ == "__main__":
    main()
