"""How far a training has come: the epoch, and what is done of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from truefit.checkpoint.store import Position
from truefit.events import Event, Observer, PassSoFar, StepFinished


class Progress:
    """Epochs done, and the part of the one that is going on. It is told of every step as an observer."""

    def __init__(self) -> None:
        self.epoch = 0
        self.so_far: Callable[[], PassSoFar | None] = lambda: None
        self._spent = 0.0
        self._start = time.perf_counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.so_far = event.so_far

    def begin(self) -> float:
        """The time at which this epoch began, had it not been interrupted."""
        self._start = time.perf_counter() - self._spent
        return self._start

    def next_epoch(self) -> None:
        """This epoch is complete."""
        self.epoch, self._spent = self.epoch + 1, 0.0
        self.so_far = lambda: None
        self.begin()

    def state(self) -> tuple[Position, dict[str, Any]]:
        """The position, and what `load` needs. Raises NonFiniteError where a step of this epoch was not finite."""
        done = self.so_far()
        seconds = time.perf_counter() - self._start
        state: dict[str, Any] = {"epoch": self.epoch, "pass": None}
        if done is None:
            return Position(self.epoch, 0), state
        state["pass"] = {
            # As tensors: writing many numbers as text would hold the interpreter's lock, and the training with it.
            "losses": torch.tensor(done.losses, dtype=torch.float64),
            "sizes": torch.tensor(done.sizes, dtype=torch.int64),
            "correct": done.correct,
            "missed": done.missed,
            "seconds": seconds,
        }
        return Position(self.epoch, len(done.sizes)), state

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.epoch = int(state["epoch"])
        if state["pass"] is not None:
            values = dict(state["pass"])
            self._spent = float(values.pop("seconds"))
            done = PassSoFar(**{**values, "losses": values["losses"].tolist(), "sizes": values["sizes"].tolist()})
            self.so_far = lambda: done


def together(*observers: Observer | None) -> Observer:
    """One observer that tells several, in this order."""
    present = [observer for observer in observers if observer is not None]

    def tell(event: Event) -> None:
        for observer in present:
            observer(event)

    return tell
