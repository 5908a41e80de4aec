"""What the script prints: the figures that it reports."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from truefit.doctor.callsite import call_site
from truefit.doctor.log import Printed
from truefit.doctor.watch.watch import Watch

MOST = 5000


def install(watch: Watch) -> None:
    """Look at what goes to stdout and stderr, on its way."""
    count = 0
    for stream in {id(s): s for s in (sys.stdout, sys.stderr)}.values():
        write = stream.write

        def watched(text: str, write: Any = write) -> Any:
            nonlocal count
            if watch.listening() and count < MOST and "." in text:
                count += 1
                watch.add(Printed(at=watch.now(), text=text[:2000], where=call_site()))
            return write(text)

        # A stream that takes no attribute is left alone.
        with suppress(AttributeError):
            stream.write = watched  # type: ignore[method-assign]

            def undo(stream: Any = stream) -> None:
                with suppress(AttributeError):
                    del stream.write

            watch.on_exit(undo)
