"""Functions called in other processes, which have nothing but NumPy and what decodes images in them.

For decoding many files: the Python code around it holds the interpreter's lock, so threads get in each other's way.
These are plain child processes that talk through pipes. Unlike those of multiprocessing they are no copies of this one,
with all its memory and threads, and do not run the user's script again.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Processes:
    """`count` child processes. `call` may be used from as many threads; made by `processes`."""

    def __init__(self, children: list[subprocess.Popen[bytes]]) -> None:
        self.count, self._children = len(children), children
        # None stands for one that has died, and could not be replaced.
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        for child in children:
            self._idle.put(child)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function gives, or raises. It is one of a module; all must be possible to pickle.

        Raises OSError where the process has died; another one takes its place.
        """
        child = self._idle.get()
        try:
            if child is None:
                raise OSError("there is no process left that decodes images")
            assert child.stdin is not None and child.stdout is not None
            try:
                pickle.dump((function, arguments), child.stdin)
                child.stdin.flush()
                fine, result = pickle.load(child.stdout)  # of a process of our own
            except (EOFError, pickle.UnpicklingError, BrokenPipeError, MemoryError) as error:
                child = self._replaced(child)
                raise OSError("a process that decodes images has died (out of memory?)") from error
        finally:
            self._idle.put(child)
        if not fine:
            raise result
        found: T = result
        return found

    def _replaced(self, child: subprocess.Popen[bytes]) -> subprocess.Popen[bytes] | None:
        _end(child)
        try:
            fresh = _start()
        except OSError:
            return None
        self._children.append(fresh)
        return fresh


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def processes(count: int) -> Iterator[Processes]:
    """Child processes that end with the block. Raises OSError where they can't be started."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            children.append(_start())
        yield Processes(children)
    finally:
        for child in children:
            _end(child)


def _start() -> subprocess.Popen[bytes]:
    # What can be imported here can be imported there.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "truefit.data.processes"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()  # it holds nothing that could be lost
    child.wait()
    for pipe in (child.stdin, child.stdout):
        # What was still to be written to one that has died can't be.
        with suppress(OSError):
            if pipe is not None:
                pipe.close()


def _serve() -> None:
    """Answer calls until the pipe is closed."""
    # Ctrl-C and Slurm's signals reach the whole group of processes; the parent says when this one ends.
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get into the answers
    while True:
        try:
            function, arguments = pickle.load(calls)
        except (EOFError, pickle.UnpicklingError):  # nobody asks any more
            return
        answer: tuple[bool, Any]
        try:
            answer = True, function(*arguments)
        except Exception as error:
            answer = False, error
        try:
            pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except BrokenPipeError:  # nobody listens any more
            os._exit(0)


if __name__ == "__main__":
    _serve()
