"""How busy is the machine with other work meanwhile? Threads that wait for each other then wait for that, too: several
are often slower than one, and what is measured says little about a quiet machine."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from truefit.events import Event, Note, Observer, StepFinished

STAT = Path("/proc/stat")

# After so many seconds of training it is said where others take more of the cores than this part.
LOOK_AFTER, MUCH = 5.0, 0.4


class Others:
    """From its making on: what part of the usable cores' time other processes took."""

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.perf_counter(), _busy(), _own()

    def share(self) -> float:
        """From 0 to 1; 0 where the system does not tell (it is Linux that does)."""
        busy = _busy()
        if busy is None or self._busy is None:
            return 0.0
        there_was = (time.perf_counter() - self._begun) * len(os.sched_getaffinity(0))
        taken = (busy - self._busy) - (_own() - self._own)
        return min(1.0, max(0.0, taken / there_was)) if there_was > 0 else 0.0


class BusyNote:
    """An observer that says once, in the first seconds of a training, that the cores are taken by other work."""

    def __init__(self, tell: Observer) -> None:
        self._tell, self._begun = tell, 0.0
        self._others: Others | None = None
        self._done = False

    def __call__(self, event: Event) -> None:
        if self._done or not isinstance(event, StepFinished):
            return
        if self._others is None:
            self._others, self._begun = Others(), time.perf_counter()
        elif time.perf_counter() - self._begun >= LOOK_AFTER:
            self._done = True
            share = self._others.share()
            if share > MUCH:
                text = (
                    f"other work takes {share:.0%} of the cores, and training waits for it: fewer threads may be "
                    "quicker (a new run with --no-deterministic tries it out, one after OMP_NUM_THREADS=1 takes one)"
                )
                self._tell(Note(text=text))


def _busy() -> float | None:
    """Seconds that the cores which this process may use have been busy since the machine was started."""
    with suppress(OSError, AttributeError, ValueError, IndexError):
        usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in STAT.read_text(encoding="ascii").splitlines()]
        # user, nice, system, idle, iowait, irq, softirq, steal
        times = [[int(word) for word in row[1:9]] for row in rows if row[0] in usable]
        return sum(sum(row) - row[3] - row[4] for row in times) / os.sysconf("SC_CLK_TCK")
    return None


def _own() -> float:
    """Seconds of this process and of the workers that it has waited for."""
    return sum(os.times()[:4])
