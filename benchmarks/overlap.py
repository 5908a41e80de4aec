"""What it costs to look for copies across splits: CIFAR-10, 60,000 images in memory.

    python benchmarks/overlap.py FOLDER [--rounds 7]

The digests of the images are needed for the fingerprint anyway; what the check adds is the comparison.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from protocol import cifar10, save

from truefit import load_data
from truefit.data.overlap import shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    data = load_data(cifar10(options.folder))
    seconds: dict[str, list[float]] = {"fingerprints": [], "check": [], "check_alone": []}
    copies: dict[str, int] = {}
    for _ in range(options.rounds):
        train, validation, test = (replace(part) for part in data.splits)  # new objects: nothing computed yet
        seconds["fingerprints"].append(timed(lambda parts=(train, validation, test): [p.fingerprint() for p in parts]))
        start = time.perf_counter()
        copies = {
            "train and test": len(shared(train, test)),
            "validation and test": len(shared(validation, test)),
            "train and validation": len(shared(train, validation)),
        }
        seconds["check"].append(time.perf_counter() - start)
        fresh = [replace(part) for part in data.splits]
        seconds["check_alone"].append(timed(lambda parts=fresh: [shared(p, parts[2]) for p in parts[:2]]))
    found = {name: {"median": statistics.median(all), "all": all} for name, all in seconds.items()}
    save(
        "overlap",
        f"{options.rounds} rounds in one process, seconds; fingerprints: digests of all images and fingerprints; "
        "check: three comparisons after that; check_alone: digests, two comparisons with test, nothing known before",
        {"images": sum(map(len, data.splits)), "exact_copies": copies, "seconds": found},
    )
    print(copies, {name: round(value["median"], 4) for name, value in found.items()})


def timed(work: Any) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
