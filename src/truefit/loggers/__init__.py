"""Loggers: figures of each epoch into what people use to look at them. One file each, found by its presence.

A file NAME.py here has `PACKAGES`, what it needs, `EXTRA`, which brings them, and `Log(folder, config)`. folder: where
it may write. config: what the run is, as plain values.

A logger that can't begin is an error before the first step. One that fails later costs its own figures, never the
training: it is told nothing more, and that is said when it fails and at the end.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from truefit.config import flat
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
    needs(module.EXTRA, *module.PACKAGES)
    log: Callable[[Path, dict[str, Any]], Log] = module.Log
    return log


class Logged:
    """The observer that hands figures on: every number of an epoch's line in the history, under its own name.

    opened: begins the log. tell: takes a sentence about a log that failed.
    """

    def __init__(self, name: str, opened: Callable[[], Log], tell: Callable[[str], None]) -> None:
        self._name, self._opened, self._tell = name, opened, tell
        self._log: Log | None = None
        self._lost_from: int | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case FitStarted():
                # Only now is the folder this process's.
                self._log = self._opened()
            case EpochFinished() if self._log is not None and self._lost_from is None:
                epoch = event.record["epoch"]
                numbers = {name: value for name, value in event.record.items() if _is_number(value)}
                try:
                    self._log.write(epoch, {name: float(value) for name, value in numbers.items()})
                except Exception as error:
                    self._lost_from = epoch
                    self._tell(
                        f"the logger {self._name} failed in epoch {epoch} ({error!r}): it gets no more figures, "
                        "training goes on"
                    )
            case _:
                pass

    def close(self) -> None:
        """End the log, where one was begun."""
        if self._log is None:
            return
        try:
            self._log.close()
        except Exception as error:
            self._tell(f"the logger {self._name} could not be ended ({error!r}): its last figures may be missing")
        if self._lost_from is not None:
            self._tell(
                f"the logger {self._name} has nothing from epoch {self._lost_from} on; history.jsonl has all figures"
            )


@contextmanager
def logged(
    names: Sequence[str], out: Path, describe: Callable[[], dict[str, Any]], tell: Callable[[str], None]
) -> Iterator[list[Logged]]:
    """The observers for these names, which write into out/logs/NAME.

    describe: gives the run's config.json. tell: takes a sentence about a log that failed.
    """
    with ExitStack() as stack:
        found = []
        for name in dict.fromkeys(names):
            opened = partial(_open, name, find_logger(name), out / "logs" / name, describe)
            observer = Logged(name, opened, tell)
            stack.callback(observer.close)
            found.append(observer)
        yield found


def parameters(config: dict[str, Any]) -> dict[str, str | int | float | bool]:
    """Nested values as one level, `recipe.optimizer.lr`: what parameters are to most loggers. Lists as text."""
    given = {name: value for name, value in flat(config).items() if value is not None and value != {}}
    return {name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in given.items()}


def _open(
    name: str, log: Callable[[Path, dict[str, Any]], Log], place: Path, describe: Callable[[], dict[str, Any]]
) -> Log:
    config = describe()
    # What was trained with what: the rest of config.json is found in the run itself.
    chosen: dict[str, Any] = {key: config[key] for key in ("model", "recipe", "seed") if key in config}
    data = config.get("data", {})
    about = {"run": place.parents[1].resolve().name, "data": data.get("spec") or data.get("name")}
    try:
        place.mkdir(parents=True, exist_ok=True)
        return log(place, about | chosen)
    except Exception as error:
        raise InputError(
            f"the logger {name} can't begin", where=place, found=repr(error), fix="mend that, or leave it out"
        ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
