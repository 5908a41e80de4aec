"""What the data audit finds: faults put into a copy of CIFAR-10, and the near-duplicates that are there by nature.

    python benchmarks/audit_faults.py FOLDER [--label-errors] [--known CSV --order NPY]

FOLDER holds train/ and test/ of CIFAR-10, JPEG edition. Writes results/audit_faults.json: seconds of a command over
the untouched folder, and recall of 300 exact copies, 300 re-encoded or mirrored copies (both of test pictures, put into
train under the same class) and 20 truncated files; with --label-errors recall and precision of 500 files moved to
another class. CSV and NPY are the list of near-duplicates of Barz and Denzler (ciFAIR, duplicates_cifar10.csv) and the
labels of the original test set in its order (int64), which tell which file is meant.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from protocol import RESULTS, cifar10, save

SEED = 0
AUDIT = "import sys; from truefit.commands.doctor.data import main; sys.exit(main(sys.argv[1:]))"


def audit(folder: Path, *options: str) -> tuple[dict[str, Any], float]:
    """The command's JSON line, and its seconds from start to end."""
    start = time.perf_counter()
    command = [sys.executable, "-c", AUDIT, str(folder), "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert done.returncode in (0, 3), done.returncode
    return json.loads(done.stdout), time.perf_counter() - start


def linked(source: Path, target: Path) -> None:
    """The same tree, every file a link."""
    for split in ("train", "test"):
        for folder in sorted((source / split).iterdir()):
            (target / split / folder.name).mkdir(parents=True)
            for file in folder.iterdir():
                (target / split / folder.name / file.name).symlink_to(file.resolve())


def put_faults(folder: Path) -> dict[str, set[str]]:
    """300 exact copies, 300 changed ones, 20 truncated files; the absolute names of the files by fault."""
    rng = np.random.default_rng(SEED)
    tests = sorted((folder / "test").glob("*/*.jpg"))
    chosen = [tests[at] for at in rng.choice(len(tests), 600, replace=False)]
    made: dict[str, set[str]] = {"exact": set(), "re-encoded": set(), "mirrored": set(), "truncated": set()}
    for number, file in enumerate(chosen):
        target = folder / "train" / file.parent.name / f"copy{number:03}.jpg"
        if number < 300:
            target.write_bytes(file.read_bytes())
            kind = "exact"
        else:
            kind = "re-encoded" if number % 2 else "mirrored"
            with Image.open(file) as image:
                changed = image if kind == "re-encoded" else ImageOps.mirror(image)
                changed.save(target, quality=int(rng.integers(50, 91)))
        made[kind].add(str(target))
    trains = sorted((folder / "train").glob("*/[0-9]*.jpg"))
    for at in rng.choice(len(trains), 20, replace=False):
        file = trains[at]
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content[: int(len(content) * rng.uniform(0.3, 0.98))])
        made["truncated"].add(str(file))
    return made


def swap_labels(folder: Path) -> set[str]:
    """500 files of train moved to another class, each equally likely; their new names."""
    rng = np.random.default_rng(SEED + 1)
    classes = sorted(entry.name for entry in (folder / "train").iterdir())
    files = sorted((folder / "train").glob("*/*.jpg"))
    moved = set()
    for at in rng.choice(len(files), 500, replace=False):
        file = files[at]
        other = classes[(classes.index(file.parent.name) + int(rng.integers(1, len(classes)))) % len(classes)]
        target = folder / "train" / other / f"{file.parent.name}-{file.name}"
        file.rename(target)
        moved.add(str(target))
    return moved


def known_pairs(listed: Path, order: Path) -> tuple[set[str], set[str]]:
    """class/file names of the test pictures that are listed: near-duplicates, and very similar ones."""
    labels = np.load(order)
    place = {}
    for label in range(10):
        for number, at in enumerate(np.flatnonzero(labels == label)):
            place[int(at)] = (label, f"{number:04}.jpg")
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    near, similar = set(), set()
    with listed.open() as file:
        for row in csv.DictReader(file):
            label, name = place[int(row["TestID"])]
            (near if row["Judgment"] in "01" else similar).add(f"{names[label]}/{name}")
    return near, similar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--label-errors", action="store_true")
    parser.add_argument("--known", type=Path)
    parser.add_argument("--order", type=Path)
    options = parser.parse_args()
    source = cifar10(options.folder)
    path = RESULTS / "audit_faults.json"
    result: dict[str, Any] = {}
    if path.is_file():
        before = json.loads(path.read_text())
        result = {name: before[name] for name in ("clean", "faults", "label_errors", "seeds") if name in before}
    if options.label_errors:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary).resolve()
            linked(source, folder)
            moved = swap_labels(folder)
            told, seconds = audit(folder, "--label-errors")
        found = {row["file"] for row in told["suspects"] if row["code"] == "FIT508"}
        result["label_errors"] = {
            "swapped": len(moved),
            "listed": len(found),
            "hits": len(found & moved),
            "recall": round(len(found & moved) / len(moved), 3),
            "precision": round(len(found & moved) / max(len(found), 1), 3),
            "seconds": round(seconds, 1),
        }
    else:
        told, seconds = audit(source)
        across = [row for row in told["suspects"] if row["what"].endswith("across splits")]
        tests = {"/".join(Path(row["other_file"]).parts[-2:]) for row in across}
        result["clean"] = {
            "seconds": round(seconds, 1),
            "findings": {f["message"]: f["outcome"] for f in told["findings"]},
            "pairs_across": len(across),
            "test_pictures_in_pairs": len(tests),
        }
        if options.known and options.order:
            near, similar = known_pairs(options.known, options.order)
            result["clean"]["listed_by_cifair"] = {
                "near_duplicates": len(near),
                "of_these_found": len(near & tests),
                "very_similar": len(similar),
                "of_those_found": len(similar & tests),
            }
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary).resolve()
            linked(source, folder)
            made = put_faults(folder)
            told, seconds = audit(folder)
        wanted = {
            "exact": "copy across splits",
            "re-encoded": "near-duplicate across splits",
            "mirrored": "near-duplicate across splits",
            "truncated": "unreadable",
        }
        result["faults"] = {"seconds": round(seconds, 1)}
        for kind, what in wanted.items():
            found = {row["file"] for row in told["suspects"] if row["what"] in (what, "copy across splits")}
            hits = len(found & made[kind])
            result["faults"][kind] = {"put": len(made[kind]), "found": hits, "recall": round(hits / len(made[kind]), 3)}
    result["seeds"] = {"faults": SEED, "swapped labels": SEED + 1, "networks": "0, 1, 2 (one a fold)"}
    save("audit_faults", "benchmarks/audit_faults.py FOLDER; CIFAR-10, JPEG edition; see the script", result)


if __name__ == "__main__":
    main()
