"""How fast is `truefit predict` on many files, against a bare loop that decodes and runs the same network?

    python benchmarks/predict_speed.py RUN FOLDER [--files 10000] [--rounds 7] [--threads 2]

The bare loop decodes with a pool of the same number of threads, stacks, normalises and runs the network in batches of
the same size, and writes nothing. truefit's side is the whole command in this process, which loads the run, lists the
folder and writes every row to a file. Rounds are interleaved; the ratio has its 95 % bootstrap interval. The bar: at
least 0.8 of the bare loop's images/s. Writes results/predict_speed.json.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from protocol import median_interval, save

from truefit import load
from truefit.commands import main as truefit
from truefit.data.lookup import list_images
from truefit.predictor import Predictor

BAR = 0.8


def bare(predictor: Predictor, files: list[Path], threads: int) -> float:
    """Seconds of the loop as one writes it by hand."""
    config, batch = predictor.config, predictor.settings.evaluation_batch_size
    size = config.image_size
    mean = torch.tensor(config.mean).view(1, -1, 1, 1) * 255
    std = torch.tensor(config.std).view(1, -1, 1, 1) * 255

    def decode(path: Path) -> np.ndarray:
        image = Image.open(path).convert("RGB")
        return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC))

    network = predictor.module.eval()
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        for start in range(0, len(files), batch):
            images = np.stack(list(pool.map(decode, files[start : start + batch])))
            prepared = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean) / std
            network(prepared).softmax(1).numpy()
    return time.perf_counter() - begun


def command(run: Path, folder: Path, threads: int, into: Path) -> float:
    """Seconds of the whole command, its rows in a file."""
    with into.open("w") as file, contextlib.redirect_stdout(file):
        begun = time.perf_counter()
        code = truefit(["predict", str(run), str(folder), "--threads", str(threads), "--quiet"])
        seconds = time.perf_counter() - begun
    assert code == 0
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--name", default="predict_speed")
    asked = parser.parse_args()
    files = list_images(asked.folder)
    step = max(1, len(files) // asked.files)
    files = files[::step][: asked.files]
    predictor = load(asked.run).predictor
    assert isinstance(predictor, Predictor)
    with tempfile.TemporaryDirectory() as scratch:
        chosen = Path(scratch) / "files"
        chosen.mkdir()
        for number, file in enumerate(files):
            (chosen / f"{number}{file.suffix}").symlink_to(file.absolute())
        linked = list_images(chosen)
        rates: dict[str, list[float]] = {"bare": [], "truefit": []}
        for round_ in range(asked.rounds + 1):
            found = {
                "bare": bare(predictor, linked, asked.threads),
                "truefit": command(asked.run, chosen, asked.threads, Path(scratch) / "rows.tsv"),
            }
            # The first round fills the page cache.
            for side, seconds in found.items() if round_ else ():
                rates[side].append(len(files) / seconds)
        rows = len((Path(scratch) / "rows.tsv").read_text().splitlines())
    assert rows == len(files), f"{rows} rows for {len(files)} files"
    ratios = np.array(rates["truefit"]) / np.array(rates["bare"])
    low, high = median_interval(ratios.tolist())
    verdict = "met" if low >= BAR else "missed" if high < BAR else "not decided"
    result = {
        "images": len(files),
        "bytes_per_image": round(sum(file.stat().st_size for file in files) / len(files)),
        "decoding_threads": asked.threads,
        "images_per_second": {side: [round(rate, 1) for rate in found] for side, found in rates.items()},
        "median_ratio": round(float(np.median(ratios)), 4),
        "interval": [low, high],
        "bar": BAR,
        "verdict": verdict,
    }
    print(result)
    save(
        asked.name,
        "whole command (run loaded, folder listed, rows written to a file) against a bare loop with the same decoding "
        "threads and batch, in one process, interleaved after one round that is not counted; ratio of images/s, "
        "median over rounds, 95 % bootstrap interval",
        result,
    )


if __name__ == "__main__":
    main()
