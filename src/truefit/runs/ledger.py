"""The ledger: which split was looked at how often, by what, and what it chose.

Every run has one, `ledger.jsonl` in its folder. A second one lies beside the data: a file for each split that has a
fingerprint, in ~/.cache/truefit/looks ($TRUEFIT_CACHE/looks where that is set, nowhere where it is `off`), to which
all runs of this user add. Both are only ever appended to, a line in one write, so that processes can add at once
without losing a line. Where one can't be written a warning says so, and nothing stops.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truefit import dist
from truefit.errors import InputError, warn
from truefit.runs.files import SCHEMA, read_lines

LEDGER = "ledger.jsonl"

_recorded: ContextVar[bool] = ContextVar("recorded", default=True)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What a ledger says about one split. looks: in all. chose: what was decided by it, sorted. n: its samples."""

    split: str
    n: int | None
    looks: int
    chose: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LooksHere:
    """What all runs of this user on this machine did with a split. looks: in all. runs: their folders, sorted."""

    looks: int
    runs: tuple[str, ...]


class Ledger:
    """A run's ledger; the only place where its looks are counted.

    path: the file, in the run's folder, or None to keep it in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._memory: list[dict[str, Any]] = []

    def look(
        self,
        split: str,
        *,
        by: str,
        times: int = 1,
        chose: tuple[str, ...] = (),
        n: int | None = None,
        fingerprint: str | None = None,
    ) -> int:
        """Note that a split was looked at, and return how often it has been by now, this time included.

        by: "train", "evaluate", "calibrate". chose: what was decided by these looks, such as "best epoch".
        """
        entry = {"split": split, "by": by, "looks": times, "chose": list(chose), "n": n, "fingerprint": fingerprint}
        run = str(self.path.parent.absolute()) if self.path is not None else None
        beside = looks_folder()
        if not dist.is_first():
            self._memory.append(entry)
            return self.looks(split)
        if beside is not None and fingerprint is not None and split != "train" and _recorded.get():
            now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            try:
                beside.mkdir(parents=True, exist_ok=True)
                _append(beside / _file_of(fingerprint), {"run": run, "time": now, **entry})
            except OSError as error:
                warn(f"the ledger beside the data can't be written ({beside}: {error.strerror or error})")
        if self.path is not None:
            try:
                upto = _append(self.path, entry)
                return _sum(_parsed(self.path.read_bytes()[:upto]), split)
            except OSError as error:
                warn(f"the run's ledger can't be written ({self.path}: {error.strerror or error})")
        self._memory.append(entry)
        return self.looks(split)

    def entries(self) -> list[dict[str, Any]]:
        """The lines, oldest first. Raises InputError where the file is damaged."""
        written = read_lines(self.path) if self.path is not None and self.path.is_file() else []
        return [*written, *self._memory]

    def looks(self, split: str, *, by: str | None = None) -> int:
        """How often a split has been looked at, in all or by one thing."""
        return _sum(self.entries(), split, by)

    def summary(self) -> dict[str, Looks]:
        """For each split that was looked at: how often, and what it chose."""
        entries = self.entries()
        found = {}
        for split in dict.fromkeys(entry["split"] for entry in entries):
            own = [entry for entry in entries if entry["split"] == split]
            chose = sorted({what for entry in own for what in entry["chose"]})
            n = next((entry["n"] for entry in own if entry["n"] is not None), None)
            found[split] = Looks(split=split, n=n, looks=_sum(own, split), chose=tuple(chose))
        return found


def looks_folder() -> Path | None:
    """Where the ledgers beside the data lie: $TRUEFIT_CACHE/looks, else ~/.cache/truefit/looks; None if `off`."""
    chosen = os.environ.get("TRUEFIT_CACHE") or "~/.cache/truefit"
    return None if chosen == "off" else Path(chosen).expanduser().absolute() / "looks"


def looks_here(fingerprint: str | None) -> LooksHere | None:
    """All looks at the split with this fingerprint by runs of this user on this machine.

    None where nothing is recorded, or it can't be read. A line that is not whole (of a process that was killed
    while it wrote) is passed over. A run that kept nothing on disk counts as one called "in memory".
    """
    where = looks_folder()
    if where is None or fingerprint is None:
        return None
    try:
        entries = _parsed((where / _file_of(fingerprint)).read_bytes())
    except OSError:
        return None
    runs = {str(entry.get("run") or "in memory") for entry in entries}
    return LooksHere(looks=sum(int(entry["looks"]) for entry in entries), runs=tuple(sorted(runs)))


@contextmanager
def unrecorded() -> Iterator[None]:
    """Leave the ledger beside the data alone: for a rehearsal whose figures nobody sees."""
    token = _recorded.set(False)
    try:
        yield
    finally:
        _recorded.reset(token)


def _append(path: Path, entry: dict[str, Any]) -> int:
    """Add a line in a single write; returns where it ends. O_APPEND keeps writers from overwriting each other."""
    line = (json.dumps({"schema": SCHEMA, **entry}, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if os.write(file, line) != len(line):
            raise OSError(f"no room for a line in {path}")
        return os.lseek(file, 0, os.SEEK_CUR)
    finally:
        os.close(file)


def _parsed(content: bytes) -> list[dict[str, Any]]:
    found = []
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("schema") == SCHEMA and isinstance(entry.get("looks"), int):
            found.append(entry)
    return found


def _sum(entries: list[dict[str, Any]], split: str, by: str | None = None) -> int:
    try:
        return sum(int(e["looks"]) for e in entries if e["split"] == split and by in (None, e["by"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "the run's ledger is damaged", found=repr(error), wanted="lines as truefit writes them"
        ) from None


def _file_of(fingerprint: str) -> str:
    return fingerprint.partition(":")[2] + ".jsonl"
