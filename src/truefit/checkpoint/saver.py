"""When training state is saved, without stopping the training for longer than a copy in memory takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals as SignalNames
from typing import Any

from torch import Tensor

from truefit import dist
from truefit.checkpoint.interval import Interval
from truefit.checkpoint.signals import Signals, requeue
from truefit.checkpoint.store import Position, Store
from truefit.checkpoint.tree import blank, flatten
from truefit.errors import Interrupted, NonFiniteError
from truefit.events import Event, Note, Observer, Progress, StepFinished

Capture = Callable[[], tuple[Position, Any]]


class Saver:
    """An observer that saves between two steps: the tensors are copied there, and a thread writes them.

    store: None in a process that works for another one, which writes. capture: gives the position and the tree of the
    state as they are now; it may raise where the state is not one to go on from (a step was not finite). place: the
    run's folder, as one who interrupts is told of it, by whichever process speaks. While one checkpoint is being
    written no other is begun: it waits until the next step after. `copying` and `waiting` are the seconds that training
    stood still for it so far, `writing` those that the thread took.
    """

    def __init__(
        self,
        store: Store | None,
        interval: Interval,
        capture: Capture,
        signals: Signals,
        *,
        notify: Observer,
        requeue: bool = False,
        place: Path | None = None,
    ) -> None:
        self.store, self.interval, self.capture, self.signals = store, interval, capture, signals
        self.notify, self.requeue, self.place = notify, requeue, place
        self.copying = self.waiting = self.writing = 0.0
        self.saved = 0
        self._last, self._steps, self._due = time.perf_counter(), 0, False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._buffers: dict[str, Tensor] = {}
        self._prepared = False

    def __call__(self, event: Event) -> None:
        """Told of every step; in an evaluation, of its progress, as a signal may come then too."""
        if isinstance(event, StepFinished):
            self._steps += 1
            every = self.interval
            self._due |= every.steps is not None and self._steps >= every.steps
            # In all processes alike, whatever their clocks say: taking the state takes all of them.
            if not self._prepared and not self._due:
                self._prepare()
            self._due |= every.seconds is not None and time.perf_counter() - self._last >= every.seconds
            self._between_steps()
        elif isinstance(event, Progress) and event.split != "train" and dist.world() == 1:
            # Several processes come here at times of their own; they agree at the end of the epoch.
            self._between_steps()

    def end_of_epoch(self) -> None:
        """An epoch, its evaluation included, is complete."""
        self._due |= self.interval.epochs
        self._between_steps()

    def finish(self) -> None:
        """Save what is due, and wait until it is on the disk."""
        self.wait()
        if self._agreed()[2]:
            self._save()
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is being written. Raises what went wrong in writing."""
        start = time.perf_counter()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.waiting += time.perf_counter() - start
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _prepare(self) -> None:
        """Get the memory for the copies, in a thread: new memory costs several times what copying into it does.

        After the first step, when the optimiser has its state.
        """
        self._prepared = True
        if not self._can_save:
            return
        try:
            _, tree = self.capture()
        except NonFiniteError:
            # Nothing to be saved; the loop tells it in its own time.
            return
        if self.store is not None:
            self._thread = threading.Thread(
                target=self._get_memory, args=(tree,), name="truefit-checkpoint", daemon=True
            )
            self._thread.start()

    def _get_memory(self, tree: Any) -> None:
        try:
            self._buffers = blank(tree)
        except BaseException as error:
            self._error = error

    def _between_steps(self) -> None:
        if self._thread is not None and not self._thread.is_alive():
            self.wait()
        ends_with, save, due = self._agreed()
        if save:
            self.signals.save = False
            if self._can_save:
                self.wait()
                self._save()
                self.wait()
                if self.store is not None:
                    back = f"; {requeue()}" if self.requeue else ""
                    self.notify(Note(text=f"saved in {self.store.folder}{back}"))
        if ends_with:
            self._end(ends_with)
        if due and not save:
            self._save()

    def _agreed(self) -> list[int]:
        """The signal to end with (0: none), whether to save now, and whether it is time to: the same in all processes.

        A signal may have come to any of them; the first one, which writes, says whether it is time and it is free.
        """
        due = self._due and self._thread is None and dist.is_first()
        return dist.largest([self.signals.ends_with or 0, self.signals.save, due])

    def _end(self, number: int) -> None:
        name = SignalNames(number).name
        self.wait()
        if not self._can_save:
            raise Interrupted(f"interrupted by {name}", number)
        position = self._save()
        self.wait()
        place = "" if self.place is None else f"--out {self.place} "
        raise Interrupted(
            f"interrupted by {name}: saved; {place}--resume goes on from {position}", number, saved=str(position)
        )

    @property
    def _can_save(self) -> bool:
        return self.interval != Interval(epochs=False)

    def _save(self) -> Position:
        start = time.perf_counter()
        position, tree = self.capture()
        self._due, self._steps, self._last, self._prepared = False, 0, time.perf_counter(), True
        if self.store is not None:
            plain, tensors = flatten(tree, self._buffers)
            self._buffers = tensors
            self._thread = threading.Thread(
                target=self._write, args=(self.store, position, plain, tensors), name="truefit-checkpoint", daemon=True
            )
            self._thread.start()
        self.copying += time.perf_counter() - start
        return position

    def _write(self, store: Store, position: Position, plain: Any, tensors: dict[str, Tensor]) -> None:
        start = time.perf_counter()
        try:
            store.write(position, plain, tensors)
            self.saved += 1
        except BaseException as error:
            # Raised where training waits for it: an error in a thread would only be printed.
            self._error = error
        self.writing += time.perf_counter() - start
