"""torch.export: a program that torch alone loads and runs, without truefit and without the network's code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from truefit.export.program import Answer, Program
from truefit.precision import threads as use_threads

SUFFIX = ".pt2"
EXACT = True


def check() -> None:
    """Nothing beyond torch is needed."""


def runtime() -> str:
    """What runs the file."""
    return f"torch {torch.__version__}"


def write(program: Program, path: Path) -> None:
    """The program, with its metadata as the extra file metadata.json."""
    extra = {"metadata.json": json.dumps(program.metadata, ensure_ascii=False)}
    torch.export.save(program.traced, path, extra_files=extra)


def answer(path: Path, threads: int) -> Answer:
    """The file in torch, on the CPU."""
    module = torch.export.load(path).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad(), use_threads(threads):
            logits: np.ndarray = module(torch.from_numpy(images))[0].numpy()
            return logits

    return run
