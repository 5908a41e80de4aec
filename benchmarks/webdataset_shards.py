"""Whether shards give what the folder gives: the same accuracy, each sample once, and memory that does not grow.

    python benchmarks/webdataset_shards.py CIFAR10 SHARDS [--each 0] [--shards 20] [--few 5] [--recipe quick]
        [--save webdataset_shards]

CIFAR10 is a folder with train/ and test/ (see protocol.cifar10). Writes train/ as `--shards` and test/ as 4 shards
into SHARDS, by the webdataset package, train shuffled and test in the folder's order; trains with the recipe on the
folder and on the shards, both with the images of train/ in full (--val-fraction 0), and compares the two runs on
test. The accuracy counts as the same when the paired 95 % interval of the difference holds 0; that the samples pair
is known by how they were written. Then one epoch on all shards and on the first `--few` of them, a process each: the
peak memory of both. --each N takes N images a class, for a trial.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import webdataset
from protocol import cifar10, save

from truefit.comparison.compare import compare
from truefit.runs.evaluation import Evaluation

MEASURE = """
import json, resource, sys
from truefit.commands import main
code = main(sys.argv[1:])
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), file=sys.stderr)
sys.exit(code)
"""


def write(folder: Path, split: str, count: int, out: Path, each: int) -> int:
    """The images of a split as shards; returns how many there are."""
    files = [
        (path, place.name)
        for place in sorted((folder / split).iterdir())
        for path in sorted(place.glob("*.jpg"))[: each or None]
    ]
    if split == "train":
        random.Random(0).shuffle(files)
    (out / split).mkdir(parents=True)
    for number in range(count):
        with (out / split / f"{split}-{number:03}.tar").open("wb") as file:
            writer = webdataset.TarWriter(file)
            for at in range(number * len(files) // count, (number + 1) * len(files) // count):
                path, label = files[at]
                writer.write({"__key__": f"{at:06}", "jpg": path.read_bytes(), "label": label.encode()})
            writer.close()
    return len(files)


def train(data: str, out: Path, *words: str) -> dict[str, Any]:
    """A training in a process of its own: its line of JSON, and its peak memory in MiB."""
    command = [sys.executable, "-c", MEASURE, "train", data, "--out", str(out), "--overwrite", "--no-report"]
    done = subprocess.run([*command, "--json", "--quiet", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return {**json.loads(done.stdout), **json.loads(done.stderr.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("shards_folder", type=Path)
    parser.add_argument("--each", type=int, default=0)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--few", type=int, default=5)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save", default=None)
    chosen = parser.parse_args()
    folder, place = cifar10(chosen.cifar10), chosen.shards_folder
    shutil.rmtree(place / "shards", ignore_errors=True)
    n = {
        split: write(folder, split, count, place / "shards", chosen.each)
        for split, count in (("train", chosen.shards), ("test", 4))
    }
    plain = folder
    if chosen.each:
        plain = place / "few"
        shutil.rmtree(plain, ignore_errors=True)
        for split in ("train", "test"):
            for source in sorted((folder / split).iterdir()):
                (plain / split / source.name).mkdir(parents=True)
                for path in sorted(source.glob("*.jpg"))[: chosen.each]:
                    (plain / split / source.name / path.name).symlink_to(path.resolve())
    recipe = ("--recipe", chosen.recipe, "--val-fraction", "0")
    runs = {
        "folder": train(str(plain), place / "run-folder", *recipe),
        "shards": train(str(place / "shards"), place / "run-shards", *recipe, "--workers", str(chosen.workers)),
    }
    found = {name: Evaluation.load(place / f"run-{name}") for name in runs}
    if found["folder"].label.tolist() != found["shards"].label.tolist():
        sys.exit("the shards do not hold the samples of the folder, each once and in its order")
    pair = compare(*(replace(one, fingerprint="as written") for one in found.values())).to_json()["pairs"][0]
    figures = {
        name: {
            "n": one.n,
            "correct": one.correct,
            "accuracy": one.accuracy,
            "interval": list(one.interval),
            "seconds": runs[name]["seconds"],
            "fit_seconds": runs[name]["fit_seconds"],
            "peak_mib": round(runs[name]["peak"], 1),
        }
        for name, one in found.items()
    }
    some = place / "some"
    shutil.rmtree(some, ignore_errors=True)
    shutil.copytree(place / "shards" / "test", some / "test")
    (some / "train").mkdir()
    for path in sorted((place / "shards" / "train").glob("*.tar"))[: chosen.few]:
        shutil.copy(path, some / "train")
    # A process's peak varies by tens of MiB with what the allocator keeps: interleaved rounds, and their median.
    peaks: dict[str, list[float]] = {"all": [], "few": []}
    for _ in range(chosen.rounds):
        for name, data in (("all", place / "shards"), ("few", some)):
            peaks[name].append(round(train(str(data), place / f"run-{name}", *recipe, "--epochs", "1")["peak"], 1))
    low, high = pair["interval"]
    result = {
        "images": n,
        **figures,
        "difference": pair["difference"],
        "difference_interval": [low, high],
        "same_within_the_interval": low <= 0 <= high,
        "one_epoch_peak_mib": {
            str(chosen.shards): peaks["all"],
            str(chosen.few): peaks["few"],
            "difference_of_medians": round(median(peaks["all"]) - median(peaks["few"]), 1),
        },
    }
    print(json.dumps(result, indent=2))
    if chosen.save:
        save(chosen.save, __doc__ or "", result)


if __name__ == "__main__":
    main()
