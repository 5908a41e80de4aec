"""What a run can be exported to. To add a target: a file here; nothing else changes.

Its name is what `--to` takes. It has `SUFFIX` (of its file), `EXACT` (whether it must give the same class; otherwise
it may lose accuracy up to `--max-drop`), `check()` (raises InputError where a package is missing), `runtime()` (name
and version of what runs the file), `write(program, path)` and `answer(path, threads) -> Answer`.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

from truefit.errors import InputError, nearest
from truefit.export.program import Answer, Program


class Target(Protocol):
    """A module of this package."""

    SUFFIX: str
    EXACT: bool

    def check(self) -> None: ...

    def runtime(self) -> str: ...

    def write(self, program: Program, path: Path) -> None: ...

    def answer(self, path: Path, threads: int) -> Answer: ...


def target_names() -> list[str]:
    """Every target, by name."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def find_target(name: str) -> Target:
    """The target of that name; InputError with the nearest where there is none, or where a package is missing."""
    if name not in target_names():
        raise InputError(f'nothing can be exported to "{name}"', where="--to", fix=nearest(name, target_names()))
    target = cast(Target, importlib.import_module(f"{__name__}.{name}"))
    target.check()
    return target
