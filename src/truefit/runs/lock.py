"""One run at a time in a folder: who is at work there, and whether that process still lives."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from truefit.atomic import storage_errors
from truefit.errors import InputError

NAME = "lock.json"

# A process may lock a file of its own twice, so its own runs are kept apart by this.
_held: set[Path] = set()


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process. `process_started`: when it began, as its system says it; tells a new process with an old number.

    `since`: when it took the folder, in seconds since 1970.
    """

    pid: int
    host: str
    process_started: str | None
    since: float

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(pid=pid, host=platform.node(), process_started=_started(pid), since=round(time.time(), 3))

    @property
    def alive(self) -> bool:
        """Whether it still runs on this host; of another host's nothing is known: False."""
        if self.host != platform.node():
            return False
        started = _started(self.pid)
        return started is not None and started == self.process_started

    def __str__(self) -> str:
        return (
            f"process {self.pid} on {self.host}, since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"
        )


class Lock:
    """A run folder taken for this process, until `release` or the end of the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take it. InputError with the owner where another process has it; StorageError where it can't be written.

        Processes on one machine, and on machines whose file system knows locks, are kept apart by the system's
        lock on the file, which falls with its process; where there are none, by what stands in the file.
        """
        self.path = (folder / NAME).resolve()
        if self.path in _held:
            raise _taken(Owner.me(), folder)
        while True:
            with storage_errors(self.path):
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            free = _lock(handle)
            owner = _read(handle)
            if free is False or (owner is not None and owner.pid != os.getpid() and owner.alive):
                os.close(handle)
                raise _taken(owner, folder)
            # The owner before may have removed the file between our opening and locking it.
            with suppress(OSError):
                if os.path.samestat(os.fstat(handle), self.path.stat()):
                    break
            os.close(handle)
        self._handle: int | None = handle
        _held.add(self.path)
        try:
            with storage_errors(self.path):
                os.truncate(handle if os.truncate in os.supports_fd else self.path, 0)
                os.write(handle, (json.dumps(asdict(Owner.me())) + "\n").encode())
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        if self._handle is None:
            return
        if os.name == "posix":
            # Before the lock falls, so that no other's file is removed.
            self.path.unlink(missing_ok=True)
            os.close(self._handle)
        else:
            os.close(self._handle)
            self.path.unlink(missing_ok=True)
        self._handle = None
        _held.discard(self.path)

    def moved(self, folder: Path) -> None:
        """The folder was renamed with the lock in it."""
        _held.discard(self.path)
        self.path = (folder / NAME).resolve()
        _held.add(self.path)


def _taken(owner: Owner | None, folder: Path) -> InputError:
    return InputError(
        "another run is going on in this folder",
        where=folder,
        found=owner or "a process that holds its lock",
        fix="wait until it has ended, or name another --out",
    )


def _lock(handle: int) -> bool | None:
    """Take the system's lock: True taken, False another process has it, None where there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 2**30, os.SEEK_SET)  # far behind the text, which others must be able to read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            # Not flock: that would pass to worker processes, and outlive this one.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _read(handle: int) -> Owner | None:
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        found = json.loads(os.read(handle, 4096))
        os.lseek(handle, 0, os.SEEK_SET)
        return Owner(**found)
    except (OSError, ValueError, TypeError):
        return None  # nobody's, or cut off when its process was killed


def _started(pid: int) -> str | None:
    """When a process began, in a form of its system's own; None where there is none with this number."""
    with suppress(OSError, IndexError):
        # Field 22, counted from behind the name, which may hold anything. See proc(5).
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    if Path("/proc/self/stat").exists() or os.name != "posix":
        return None
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout.strip() or None
    return None
