"""The watch: what all wrappers share, and the way in and out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from truefit.doctor.finding import Where
from truefit.doctor.log import Forward, Log, Pass


class Ended(BaseException):
    """The doctor has seen enough: ends a script that is watched with limits. No `except Exception` catches it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where a watched script is cut: batches in a pass, passes that train, seconds after the first step."""

    steps: int = 20
    passes: int = 3
    seconds: float = 60.0


class Watch:
    """`with Watch() as log:` records what happens inside. limits: None leaves the computation untouched.

    scratch: folder that files written by torch.save and safetensors go to instead, where limits cut the training, if
    others stand in their places; where none does, they are written there, and removed in the end. children: folder in
    which processes that the script starts leave what they have found.
    """

    def __init__(
        self,
        log: Log | None = None,
        *,
        limits: Limits | None = None,
        scratch: Path | None = None,
        children: Path | None = None,
    ) -> None:
        self.log = log if log is not None else Log()
        self.limits, self.scratch, self.children = limits, scratch, children
        self.on = False
        self.thread = threading.get_ident()
        self.redirected: list[str] = []
        self.made: set[Path] = set()
        # What is going on right now: the outermost call of a module, the last pass, calls since the last backward.
        self.inside: Any = None
        self.current: Pass | None = None
        self.pending: list[Forward] = []
        self.first_step: float | None = None
        # The batch fetched last, its labels where it has some, and whether a gradient scaler scaled the loss.
        self.batch: Any = None
        self.labels: Any = None
        self.scaling = False
        self.windows: dict[int, Any] = {}
        self.starting = Pass(number=-1, loader=0, where=Where(), begin=0)
        self._at = 0
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Log:
        from truefit.doctor.watch import (
            amp,
            attributes,
            best,
            gradients,
            initialisation,
            loaders,
            losses,
            models,
            own,
            printing,
            processes,
            steps,
            weights,
        )

        self.on = True
        subjects = (
            *(models, losses, gradients, steps, amp, loaders, best, own),
            *(initialisation, weights, printing, processes, attributes),
        )
        for subject in subjects:
            subject.install(self)
        # A worker process of a DataLoader is not watched.
        os.register_at_fork(after_in_child=self.turn_off)
        return self.log

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on = False
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        for path in self.made:
            path.unlink(missing_ok=True)

    def turn_off(self) -> None:
        """Record nothing from here on."""
        self.on = False

    def now(self) -> int:
        """The next number of the sequence that orders all records."""
        self._at += 1
        return self._at

    def add(self, event: Any) -> None:
        """Write a record down."""
        self.log.events.append(event)

    def listening(self) -> bool:
        """Whether this call is to be recorded: the program's main thread, while the watch is on."""
        return self.on and threading.get_ident() == self.thread

    def patch(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in the place of owner.name until the watch ends."""
        original = vars(owner).get(name, None)
        known = getattr(owner, name)
        setattr(owner, name, make(known))

        def undo() -> None:
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

        self._undo.append(undo)

    def on_exit(self, undo: Callable[[], None]) -> None:
        """Call `undo` when the watch ends."""
        self._undo.append(undo)

    def check_time(self) -> None:
        """End a script that has been training for longer than its limit."""
        if self.limits is None or self.first_step is None or not self.on:
            return
        if time.perf_counter() - self.first_step > self.limits.seconds:
            self.log.cut = True
            raise Ended

    def is_new(self, path: str | os.PathLike[str]) -> bool:
        """Whether nothing of the user's stands where a file is to be written."""
        target = Path(path).absolute()
        return target in self.made or not os.path.lexists(target)

    def place(self, path: Any) -> Any:
        """Where a file that the script writes really goes, or is read from."""
        if self.scratch is None or not isinstance(path, str | os.PathLike):
            return path
        target = Path(path)
        return self.scratch / target.absolute().as_posix().lstrip("/").replace(":", "")
