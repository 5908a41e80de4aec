"""Transfer against its two bars: real photos, and 500 small pictures against a network trained from scratch.

    python benchmarks/transfer.py FOLDER [--only photos] [--small]

FOLDER receives the photos, the pictures and the runs, and keeps what is there. Needs `truefit[pretrained]` and the
archives in ../shared/data. --small: a part of the data, to see that it works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import protocol

EACH = 50
WORDS = """The command as a user calls it, in a process of its own each time, with its features kept in a new folder.
Photos: ants and bees, 245 to train on, 153 in val/, which chooses nothing and is looked at once; the regularisation
is chosen by 5-fold cross-validation within train. seconds: the whole command; twice, the second time with the features
that the first kept. Pictures: the first 50 of each class of CIFAR-10 (JPEG edition) as files, all 500 trained on,
measured once on the 10,000 test images; ConvNet from scratch by the recipe best on the same 500 against transfer on
the pictures brought to --image-size pixels. seconds: the whole command, with the evaluation."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=["photos", "pictures"])
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--name", default="transfer")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"small": given.small}
    if given.only != "pictures":
        result["photos"] = photos(given.folder, given.small)
    if given.only != "photos":
        result["pictures"] = pictures(given.folder, given.image_size, given.small)
    print(json.dumps(result, indent=2))
    protocol.save(f"short/{given.name}" if given.small else given.name, " ".join(WORDS.split()), result)


def photos(folder: Path, small: bool) -> dict[str, Any]:
    """Ants and bees, twice."""
    if not (folder / "photos-ants-bees").is_dir():
        with tarfile.open(protocol.SHARED / "photos-ants-bees.tar.xz") as tar:
            tar.extractall(folder, filter="data")
    data = folder / "photos-ants-bees"
    if small:
        data = part(data, folder / "few-photos", {"train": 8, "val": 4})
    cache = emptied(folder / "cache-photos")
    found = {}
    for name in ("first", "again"):
        answer = train(data, folder / f"photos-{name}", cache, "--recipe", "transfer")
        evaluation = answer["evaluation"]
        found[name] = {"seconds": answer["command_seconds"], "evaluation": evaluation}
    run = folder / "photos-first"
    found["ledger"] = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    found["probe"] = json.loads((run / "model" / "model.json").read_text())["probe"]
    accuracy = found["first"]["evaluation"]["accuracy"]
    bars = {
        "at least 90 %": accuracy >= 0.9,
        "under 3 minutes": found["first"]["seconds"] < 180,
        "again under 20 s": found["again"]["seconds"] < 20,
        "looked at once": sum(one["looks"] for one in found["ledger"] if one["split"] == "validation") == 1,
    }
    return {**found, "bars": bars}


def pictures(folder: Path, image_size: int, small: bool) -> dict[str, Any]:
    """500 pictures of CIFAR-10: from scratch, and by transfer."""
    whole = protocol.cifar10(folder / "cifar10")
    counts = {"train": 5, "test": 3} if small else {"train": EACH, "test": 1000}
    data = part(whole, folder / ("few-pictures" if small else "pictures"), counts)
    cache = emptied(folder / "cache-pictures")
    scratch = train(data, folder / "scratch", cache, "--recipe", "best", "--val-fraction", "0", "--batch-size", "32")
    sized = ("--image-size", str(image_size))
    transfer = train(data, folder / "transfer", cache, "--recipe", "transfer", "--val-fraction", "0", *sized)
    seconds = transfer["command_seconds"]
    gain = transfer["evaluation"]["accuracy"] - scratch["evaluation"]["accuracy"]
    return {
        "image_size": image_size,
        "scratch": {"seconds": scratch["command_seconds"], "evaluation": scratch["evaluation"]},
        "transfer": {"seconds": seconds, "evaluation": transfer["evaluation"]},
        "gain": gain,
        "bars": {"at least 15 points better": gain >= 0.15, "under 8 minutes, evaluation and all": seconds < 480},
    }


def part(whole: Path, folder: Path, counts: dict[str, int]) -> Path:
    """Links to the first files of each class, as many as `counts` says for each split."""
    shutil.rmtree(folder, ignore_errors=True)
    for split, count in counts.items():
        for source in sorted((whole / split).iterdir()):
            place = folder / split / source.name
            place.mkdir(parents=True)
            for file in sorted(source.iterdir())[:count]:
                (place / file.name).symlink_to(file.resolve())
    return folder


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def train(data: Path, out: Path, cache: Path, *words: str) -> dict[str, Any]:
    """What the command's line of JSON says, and how long the whole command took."""
    command = [str(Path(sys.executable).with_name("truefit")), "train", str(data), "--out", str(out)]
    begun = time.perf_counter()
    done = subprocess.run(
        [*command, "--overwrite", "--json", "--device", "cpu", *words],
        env={**os.environ, "TRUEFIT_CACHE": str(cache.absolute())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "command_seconds": round(time.perf_counter() - begun, 2)}


if __name__ == "__main__":
    main()
