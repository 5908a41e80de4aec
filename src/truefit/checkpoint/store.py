"""The folder of checkpoints: written whole or not at all, the last few kept, the newest intact one found."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from truefit.atomic import storage_errors, write_whole
from truefit.checkpoint.container import read_container, write_container
from truefit.errors import InputError

KEEP = 2
_NAME = re.compile(r"epoch-(\d{1,9})-step-(\d{1,12})\.checkpoint")


@dataclass(frozen=True, order=True)
class Position:
    """How far a training has come: `steps` optimiser steps of this epoch (from 0) are done."""

    epoch: int
    steps: int

    def __str__(self) -> str:
        if self.steps == 0:
            return f"epoch {self.epoch + 1}"
        return f"epoch {self.epoch + 1}, step {self.steps + 1}"


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read."""

    path: Path
    position: Position
    plain: Any
    tensors: dict[str, Tensor]


class Store:
    """`epoch-0003-step-000120.checkpoint` and so on in one folder: 120 steps of epoch 3 are done.

    keep: how many are kept, at least 1. Two, so that there is one to fall back on where the newest is damaged.
    """

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        self.folder, self.keep = folder, keep

    def write(self, position: Position, plain: Any, tensors: dict[str, Tensor]) -> None:
        """Add a checkpoint, then remove those that are older than the last few. StorageError on a full disk."""
        path = self.folder / f"epoch-{position.epoch + 1:04}-step-{position.steps:06}.checkpoint"
        write_whole(path, lambda temporary: write_container(temporary, plain, tensors))
        self.trim(self.keep)

    def newest(self) -> tuple[Found | None, list[InputError]]:
        """The newest checkpoint that is intact, and what is wrong with those after it.

        Those are given another ending, so that they are not taken for newer ones later.
        """
        damaged: list[InputError] = []
        for path, position in reversed(self.files()):
            try:
                plain, tensors = read_container(path)
            except InputError as error:
                damaged.append(error)
                with storage_errors(path):
                    path.replace(path.with_suffix(".damaged"))
                continue
            return Found(path, position, plain, tensors), damaged
        return None, damaged

    def files(self) -> list[tuple[Path, Position]]:
        """All checkpoints, the oldest first."""
        found = []
        for path in self.folder.glob("*.checkpoint"):
            match = _NAME.fullmatch(path.name)
            if match:
                found.append((path, Position(int(match[1]) - 1, int(match[2]))))
        return sorted(found, key=lambda file: file[1])

    def trim(self, keep: int) -> None:
        """Remove all but the newest few; with 0 the folder and all files in it. Folders in it stay."""
        if keep == 0 and self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.is_symlink() or not path.is_dir():
                    path.unlink()
            with suppress(OSError):
                self.folder.rmdir()
            return
        for path, _ in self.files()[:-keep]:
            path.unlink(missing_ok=True)
