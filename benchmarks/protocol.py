"""What every result file carries: hardware, versions, commit; and where CIFAR-10 is found."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import torch

from truefit.provenance import provenance

RESULTS = Path(__file__).parent / "results"
# Read when the script starts: later the checkout may stand at another commit than the code that runs.
MADE_WITH = provenance(torch.device("cpu"))
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def save(name: str, protocol: str, result: dict[str, Any]) -> None:
    """Write results/NAME.json: the protocol in words, the figures, and what they were made with."""
    content = {"protocol": protocol, **MADE_WITH, "threads": torch.get_num_threads(), **result}
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def cifar10(folder: Path) -> Path:
    """The folder with train/ and test/ of CIFAR-10, JPEG edition; unpacked there from the archive where missing."""
    if not (folder / "train").is_dir():
        archive = SHARED / "cifar10-jpeg.tar.xz"
        if not archive.is_file():
            sys.exit(f"CIFAR-10 is needed: neither {folder}/train nor the archive {archive.name} is there")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder
