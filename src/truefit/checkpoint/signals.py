"""Signals that ask a training to end or to save, noted when they come and heeded between two steps."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from truefit.errors import Interrupted


class Signals:
    """SIGTERM and SIGINT ask to end: `ends_with` is then the signal's number. SIGUSR1 asks to save: `save`.

    A second SIGTERM or SIGINT ends the process at once, with exit code 128 + its number. Only the main thread of a
    process can watch; elsewhere, and on systems without a signal, nothing is noted.
    """

    def __init__(self) -> None:
        self.ends_with: int | None = None
        self.save = False

    @contextmanager
    def watched(self) -> Iterator[Signals]:
        """Watch for signals, then give them back to who watched before.

        One that asked to end, and came too late for a step to heed it, raises Interrupted then: what was watched is
        complete, and nothing may follow it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        names = ("SIGTERM", "SIGINT", "SIGUSR1")
        before = {}
        for name in names:
            number = getattr(signal, name, None)
            if number is not None:
                before[number] = signal.signal(number, self._note)
        try:
            yield self
        finally:
            for number, handler in before.items():
                # None: it was set by code that is not Python's, and can't be set from here.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.ends_with is not None:
            name = signal.Signals(self.ends_with).name
            raise Interrupted(f"interrupted by {name}: this run came to its end before", self.ends_with)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGUSR1", None):
            self.save = True
        elif self.ends_with is None:
            self.ends_with = number
        else:
            os._exit(128 + number)


def requeue() -> str:
    """Put this Slurm job back in the queue; says in words what came of it."""
    job = os.environ.get("SLURM_JOB_ID")
    program = shutil.which("scontrol")
    if job is None or program is None:
        return "not requeued: this is not a job of Slurm"
    done = subprocess.run([program, "requeue", job], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        return f"job {job} was not requeued: {done.stderr.strip() or done.stdout.strip()}"
    return f"job {job} is back in the queue"
