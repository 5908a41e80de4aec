"""Standard output that takes no more: its reader has gone, or its disk is full."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from truefit.errors import StorageError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def flush() -> None:
    """Bring to stdout what was printed, now, where a failure can still be told as every other error is."""
    # There may be no stdout at all.
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def let_go() -> None:
    """Drop what stdout and stderr do not take: Python would complain of it at the end of the process."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


@contextmanager
def no_room_told(fix: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Raise StorageError in place of an OSError by which stdout refuses to take more; all of it is flushed at the end.

    fix: asked then for what can be done about it.
    """
    try:
        try:
            yield
        except SystemExit:
            flush()
            raise
        flush()
    except OSError as error:
        if error.errno not in NO_ROOM or error.filename is not None or not _refuses():
            raise
        raise StorageError(
            "the output can't be written", where="standard output", found=error.strerror, fix=fix()
        ) from error


def _refuses() -> bool:
    """Whether stdout takes nothing at all; another file may be the one that has no room."""
    if sys.stdout is None:
        return False
    try:
        # What did not fit need not be kept by the stream, so that flushing alone may succeed.
        print(flush=True)
    except OSError:
        return True
    return False
