"""Runs many small programs, each in a forked process of its own, from a parent that has done the slow imports once.

Needs the standard library alone, so that it also works in an environment without truefit. The parent must be
single-threaded (OMP_NUM_THREADS=1 before torch is imported) and must not have computed anything with torch.
"""

from __future__ import annotations

import contextlib
import os
import random
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Job:
    """One program: `call` runs in the child and returns its exit status."""

    name: str
    call: Callable[[], int]
    seed: int


@dataclass(frozen=True)
class Done:
    """cpu_seconds: of the child and of those it waited for, without the parent's imports. in_time: it ended itself."""

    name: str
    stdout: str
    stderr: str
    exit: int
    cpu_seconds: float
    in_time: bool


@dataclass
class _Running:
    job: Job
    until: float
    out: IO[str]
    err: IO[str]
    in_time: bool = True


def as_script(path: str) -> int:
    """Run a file as `python path` would."""
    sys.argv = [path]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")
    return 0


def run(jobs: Iterable[Job], *, at_once: int, timeout: float) -> Iterator[Done]:
    """Each job in a process of its own, `at_once` of them at a time; in the order in which they end."""
    waiting = iter(jobs)
    running: dict[int, _Running] = {}
    more = True
    while more or running:
        while more and len(running) < at_once:
            job = next(waiting, None)
            if job is None:
                more = False
            else:
                pid, started = _start(job, timeout)
                running[pid] = started
        ended, status, usage = os.wait4(-1, os.WNOHANG) if running else (0, 0, None)
        if ended == 0 or usage is None:
            for pid, one in running.items():
                if time.monotonic() > one.until:
                    one.in_time = False
                    _kill(pid)
            time.sleep(0.01)
            continue
        one = running.pop(ended)
        _kill(ended)  # what it left behind in its process group
        texts = []
        for file in (one.out, one.err):
            file.seek(0)
            texts.append(file.read())
            file.close()
        seconds = usage.ru_utime + usage.ru_stime
        yield Done(one.job.name, *texts, os.waitstatus_to_exitcode(status), round(seconds, 2), one.in_time)


def _start(job: Job, timeout: float) -> tuple[int, _Running]:
    out = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  closed when the job has ended
    err = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(job, out.fileno(), err.fileno())
    return pid, _Running(job, time.monotonic() + timeout, out, err)


def _child(job: Job, out: int, err: int) -> None:
    status = 1
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ["SEED"] = str(job.seed)
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        status = job.call()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
