"""Loggers: figures of each epoch into what people use to look at them. One file each, found by its presence.

A file NAME.py here has `PACKAGES`, what it needs, and `Log(folder, config)`, an observer of events with `close()`.
folder: where it may write. config: what the run is, as plain values.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from truefit.errors import InputError, nearest
from truefit.events import EpochFinished, Event, FitStarted
from truefit.extras import needs


class Log(Protocol):
    """Where the figures of one run go."""

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        """The figures of an epoch, counted from 1."""
        ...

    def close(self) -> None:
        """No more figures come: bring all of them to the disk."""
        ...


def logger_names() -> list[str]:
    """All known names."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def find_logger(name: str) -> Callable[[Path, dict[str, Any]], Log]:
    """The named logger; InputError where it is not known, or where its package is not installed."""
    if name not in logger_names():
        raise InputError(f'no logger is called "{name}"', where="--log", fix=nearest(name, logger_names()))
    module = importlib.import_module(f"{__name__}.{name}")
    needs("loggers", *module.PACKAGES)
    log: Callable[[Path, dict[str, Any]], Log] = module.Log
    return log


class Logged:
    """The observer that hands figures on: every number of an epoch's line in the history, under its own name."""

    def __init__(self, opened: Callable[[], Log]) -> None:
        self._opened = opened
        self._log: Log | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case FitStarted():
                # Only now is the folder this process's.
                self._log = self._opened()
            case EpochFinished() if self._log is not None:
                numbers = {name: value for name, value in event.record.items() if _is_number(value)}
                self._log.write(event.record["epoch"], {name: float(value) for name, value in numbers.items()})
            case _:
                pass

    def close(self) -> None:
        """End the log, where one was begun."""
        if self._log is not None:
            self._log.close()


@contextmanager
def logged(names: Sequence[str], out: Path, describe: Callable[[], dict[str, Any]]) -> Iterator[list[Logged]]:
    """The observers for these names, which write into out/logs/NAME. describe: gives the run's config.json."""
    with ExitStack() as stack:
        found = []
        for name in dict.fromkeys(names):
            log, place = find_logger(name), out / "logs" / name
            observer = Logged(lambda log=log, place=place: _open(log, place, describe()))  # type: ignore[misc]
            stack.callback(observer.close)
            found.append(observer)
        yield found


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested values as one level, `recipe.optimizer.lr`: what parameters are to most loggers. Lists as text."""
    found: dict[str, str | int | float | bool] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[prefix + name] = value if isinstance(value, str | int | float | bool) else str(value)
    return found


def _open(log: Callable[[Path, dict[str, Any]], Log], place: Path, config: dict[str, Any]) -> Log:
    place.mkdir(parents=True, exist_ok=True)
    # What was trained with what: the rest of config.json is found in the run itself.
    chosen: dict[str, Any] = {name: config[name] for name in ("model", "recipe", "seed") if name in config}
    data = config.get("data", {})
    about = {"run": place.parents[1].resolve().name, "data": data.get("spec") or data.get("name")}
    return log(place, about | chosen)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
