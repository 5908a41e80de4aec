"""Writing a file whole or not at all, so that it outlives a killed process and a failing machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from truefit.errors import StorageError

FIX = "make room, or give the right to write there"


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one move.

    The bytes are on the disk before the move, and the move before this returns. StorageError where the system
    refuses; what stood at `path` then stands there still.
    """
    temporary = temporary_of(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """Where the bytes of `path` are until they are complete: a hidden name that keeps the suffix."""
    return path.with_name(f".{path.name}.tmp{path.suffix}")


def remove_temporaries(folder: Path) -> None:
    """Remove what `write_whole` left in this folder, and in those in it, when its process was killed."""
    for file in folder.rglob(".*.tmp*"):
        if file.is_file() and not file.is_symlink():
            file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can (Windows can't, and needs not)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network and FUSE file systems know no fsync of folders.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise StorageError in place of an OSError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path.name} can't be written",
            where=path,
            found=error.strerror or error,
            fix=FIX,
        ) from error
