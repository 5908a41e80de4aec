"""What a folder costs that does not fit in memory: made of small JPEG files, decoded once, then read from the cache.

    python benchmarks/streaming.py FOLDER [--images 200000] [--size 32] [--photos PHOTOS] [--epochs 2] [--rounds 5]
        [--light] [--save streaming]

Makes FOLDER/images-N-SIZE where it is missing (real JPEG files of noise over gradients; ten classes; with `--photos`
copies of the photographs in that folder, as often as it takes, whatever their size), and measures in processes of their
own: the files decoded by a process a core in a bare loop, once by Pillow, once by truefit's function; decoding into an
empty cache; training that finds it filled; the same images in memory; read from their files without a cache (one
epoch). All that ROUNDS times. `--light` trains on a few pixels instead of ConvNet, so that reading is the limit. Peak
memory is summed over a process and its children:
`rss` counts mapped pages of the cache, which the system takes back when it needs them; `own` does not.
`--save NAME` writes results/NAME.json; without it the figures are only printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 10
# How much of the free memory the images may take: none, as if there were too many, or as much as they like.
WAYS = {"bare": 0.0, "bare_fast": 0.0, "decode": 0.0, "cache": 0.0, "files": 0.0, "memory": 1.0}


def make_images(folder: Path, images: int, size: int, photos: list[Path]) -> Path:
    """A folder of class folders with `images` JPEG files in all; made whole or not at all."""
    known = hashlib.blake2b(repr([(path.name, path.stat().st_size) for path in photos]).encode(), digest_size=4)
    place = folder / (f"photos-{images}-{known.hexdigest()}" if photos else f"images-{images}-{size}")
    if place.is_dir():
        return place
    temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    for label in range(CLASSES):
        (temporary / f"class-{label}").mkdir()
    for number in range(images):
        label = number % CLASSES
        if photos:
            target = temporary / f"class-{label}" / f"{number:07}.jpg"
            target.write_bytes(photos[number % len(photos)].read_bytes())
            continue
        slope = np.stack([x * rng.uniform(0, 255), y * rng.uniform(0, 255), np.full((size, size), 25.0 * label)], 2)
        pixels = np.clip(slope + rng.normal(0, 25, slope.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(temporary / f"class-{label}" / f"{number:07}.jpg", quality=90)
    temporary.rename(place)
    return place


class Peak:
    """The largest memory of this process and its children, sampled ten times a second, in MiB."""

    def __init__(self) -> None:
        self.rss = self.own = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            found = [_memory(process) for process in (os.getpid(), *_children(os.getpid()))]
            self.rss = max(self.rss, sum(rss for rss, _ in found))
            self.own = max(self.own, sum(own for _, own in found))


def _memory(process: int) -> tuple[float, float]:
    """Resident memory in MiB: all, and what is not pages of files."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        rss, files = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssFile"))
    except (OSError, KeyError):  # it has just ended
        return 0.0, 0.0
    return rss, rss - files


def _children(process: int) -> list[int]:
    found = []
    with suppress(OSError):  # it has just ended
        for tasks in Path(f"/proc/{process}/task").glob("*/children"):
            for child in map(int, tasks.read_text().split()):
                found += [child, *_children(child)]
    return found


def bare(folder: Path, size: int, *, fast: bool) -> dict[str, Any]:
    """Every file decoded and brought to size, by a process a core, and nothing else done."""
    paths = sorted(map(str, folder.rglob("*.jpg")))
    cores = len(os.sched_getaffinity(0))
    start = time.perf_counter()
    with Pool(cores) as pool:
        decode = partial(_decoded_fast if fast else _decoded, size)
        decoded = sum(pool.imap_unordered(decode, paths, chunksize=64))
    seconds = time.perf_counter() - start
    return {"processes": cores, "seconds": round(seconds, 3), "images_per_second": round(decoded / seconds, 1)}


def _decoded(size: int, path: str) -> bool:
    image = Image.open(path).convert("RGB")
    if image.size != (size, size):
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short))
    return np.asarray(image).ndim == 3


def _decoded_fast(size: int, path: str) -> bool:
    from truefit.data.images import read_pixels

    return read_pixels(path, size)[0].ndim == 3


def measure(way: str, folder: Path, size: int, epochs: int, *, light: bool) -> dict[str, Any]:
    """Load the folder and train on it, in this process."""
    from torch import nn

    from truefit import ConvNet, Trainer, load_data
    from truefit.recipes.lookup import find_recipe
    from truefit.recipes.recipe import Recipe

    recipe: Recipe = find_recipe("standard")
    with Peak() as peak:
        start = time.perf_counter()
        data = load_data(folder, image_size=size, memory_share=WAYS[way])
        loaded = time.perf_counter() - start
        rss_when_loaded, own_when_loaded = _memory(os.getpid())
        start = time.perf_counter()
        prints = [part.fingerprint() for part in data.splits]
        printed = time.perf_counter() - start
        result: dict[str, Any] = {
            "images": sum(map(len, data.splits)),
            "load_seconds": round(loaded, 3),
            "fingerprint_seconds": round(printed, 3),
            "fingerprints": prints,
            "in_memory": data.train.in_memory,
            "cached": data.train.cached is not None,
            "loaded_rss_mib": round(rss_when_loaded),
            "loaded_own_mib": round(own_when_loaded),
        }
        if way != "decode":
            from dataclasses import replace

            pixels = nn.Sequential(nn.Conv2d(3, CLASSES, 1, stride=size // 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            trainer = Trainer(
                pixels if light else ConvNet(CLASSES), replace(recipe, epochs=1 if way == "files" else epochs)
            )
            history = trainer.fit(data).history
            result["images_per_second"] = [record["images_per_second"] for record in history]
            result["epoch_seconds"] = [record["seconds"] for record in history]
    return {**result, "peak_rss_mib": round(peak.rss), "peak_own_mib": round(peak.own)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--light", action="store_true", help="sixteen pixels and a linear layer, not ConvNet")
    parser.add_argument("--save", help="name of the result file")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        light = options.light
        if options.way.startswith("bare"):
            done = bare(options.folder, options.size, fast=options.way == "bare_fast")
        else:
            done = measure(options.way, options.folder, options.size, options.epochs, light=light)
        print(json.dumps(done))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    photos = sorted(p for p in options.photos.rglob("*") if p.suffix.lower() == ".jpg") if options.photos else []
    if options.photos and not photos:
        parser.error(f"no .jpg files in {options.photos}")
    images = make_images(options.folder, options.images, options.size, photos)
    cache = options.folder / "cache"
    rounds = []
    for path in images.rglob("*.jpg"):  # into the page cache
        path.read_bytes()
    for _ in range(options.rounds):
        shutil.rmtree(cache, ignore_errors=True)
        figures = {}
        for way in WAYS:
            command = [sys.executable, __file__, str(images), "--way", way]
            command += ["--size", str(options.size), "--epochs", str(options.epochs)]
            command += ["--light"] * options.light
            environment = {**os.environ, "TRUEFIT_CACHE": "off" if way == "files" else str(cache)}
            finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            figures[way] = json.loads(finished.stdout.splitlines()[-1])
            print(way, json.dumps(figures[way]), flush=True)
        assert figures["cache"].pop("fingerprints") == figures["memory"].pop("fingerprints")
        rounds.append(figures)
    ratios = compared(rounds)
    print(json.dumps(ratios, indent=2))
    if options.save:
        from protocol import save

        save(
            options.save,
            "benchmarks/streaming.py: truefit.load_data of a folder of JPEG files (synthetic ones of the size, or "
            "copies of photographs brought to it), then Trainer(network, standard).fit, validation and test 10 % each; "
            "network: ConvNet, or if light a linear layer on the mean of sixteen pixels. In each round every way in a "
            "process of its own, one after the other: bare (Pillow's decoding, cutting and resizing alone), bare_fast "
            "(the same by truefit's function), decode (listing, decoding into an empty cache), cache (filled), files "
            "(no cache), memory. Ratios: of medians over rounds, with the 95 % bootstrap interval; files in the page "
            "cache",
            {
                "photos": len(photos) or None,
                "size": options.size,
                "light": options.light,
                "cache_bytes": sum(path.stat().st_size for path in cache.iterdir()),
                "ratios": ratios,
                "rounds": rounds,
            },
        )
    shutil.rmtree(cache)


def compared(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, list[float]]:
    """Ratios of medians over rounds, each with its interval. A first epoch: decoding into the cache and training."""
    from protocol import ratio_interval

    bare = [figures["bare"]["images_per_second"] for figures in rounds]
    decoded = [figures["decode"]["images"] / figures["decode"]["load_seconds"] for figures in rounds]
    files = [figures["files"]["images_per_second"][0] for figures in rounds]
    first = [figures["decode"]["load_seconds"] + figures["cache"]["epoch_seconds"][0] for figures in rounds]
    trained = [figures["decode"]["images"] / seconds for figures, seconds in zip(rounds, first, strict=True)]
    second = [figures["cache"]["epoch_seconds"][-1] for figures in rounds]
    pairs = {
        "decoding into the cache / bare loop, images a second": (decoded, bare),
        "that and the first epoch / bare loop, images a second": (trained, bare),
        "training from files / bare loop, images a second": (files, bare),
        "that / bare loop by truefit's function": (files, [each["bare_fast"]["images_per_second"] for each in rounds]),
        "seconds of the first epoch / the last": (first, second),
    }
    return {
        name: [
            round(value, 3)
            for value in (statistics.median(one) / statistics.median(other), *ratio_interval(one, other))
        ]
        for name, (one, other) in pairs.items()
    }


if __name__ == "__main__":
    main()
