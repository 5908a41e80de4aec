"""What the benchmarks share: result files with hardware, versions and commit; intervals; where CIFAR-10 is found."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from truefit.provenance import provenance

RESULTS = Path(__file__).parent / "results"
# Read when the script starts: later the checkout may stand at another commit than the code that runs.
MADE_WITH = provenance(torch.device("cpu"))
# Variables by which a CPU is used as if it had older instructions only.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def save(name: str, protocol: str, result: dict[str, Any]) -> None:
    """Write results/NAME.json: the protocol in words, the figures, and what they were made with."""
    limits = {name: os.environ[name] for name in LIMITS if name in os.environ}
    limited = {"limited_to": limits} if limits else {}
    content = {"protocol": protocol, **MADE_WITH, **limited, "threads": torch.get_num_threads(), **result}
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def median_interval(values: Sequence[float]) -> list[float]:
    """The 95 % interval of the median: percentile bootstrap, 10,000 resamples."""
    return ratio_interval(values, np.ones(len(values)))


def ratio_interval(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The 95 % interval of median(above) / median(below), one of each from every round: percentile bootstrap over
    rounds, 10,000 resamples.
    """
    assert len(above) == len(below)
    rounds = np.random.default_rng(0).integers(0, len(above), (10_000, len(above)))
    ratios = np.median(np.asarray(above)[rounds], axis=1) / np.median(np.asarray(below)[rounds], axis=1)
    return [float(bound) for bound in np.quantile(ratios, [0.025, 0.975])]


def cifar10(folder: Path) -> Path:
    """The folder with train/ and test/ of CIFAR-10, JPEG edition; unpacked there from the archive where missing."""
    if not (folder / "train").is_dir():
        archive = SHARED / "cifar10-jpeg.tar.xz"
        if not archive.is_file():
            sys.exit(f"CIFAR-10 is needed: neither {folder}/train nor the archive {archive.name} is there")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder
