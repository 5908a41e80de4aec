"""Which line of the user's own code led here: the first frame outside of Python, installed packages and truefit."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType

from truefit.doctor.finding import Where

_OURS = str(Path(__file__).resolve().parents[1])
_PYTHON = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_known: dict[CodeType, bool] = {}


def user_frame(frame: FrameType | None = None) -> FrameType | None:
    """The innermost frame of the user's code, None where there is none."""
    frame = frame or sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        own = _known.get(code)
        if own is None:
            own = _known[code] = is_users(code.co_filename)
        if own:
            return frame
        frame = frame.f_back
    return None


def call_site(subject: str | None = None) -> Where:
    """File and line of the user's code that led to this call."""
    frame = user_frame(sys._getframe(1))
    if frame is None:
        return Where(subject=subject)
    return Where(file=frame.f_code.co_filename, line=frame.f_lineno, subject=subject)


def call_chain() -> tuple[tuple[int, Where], ...]:
    """All places of the user's code that led to this call, innermost first, each with the id of its function's code."""
    chain = []
    frame = user_frame(sys._getframe(1))
    while frame is not None:
        chain.append((id(frame.f_code), Where(file=frame.f_code.co_filename, line=frame.f_lineno)))
        frame = user_frame(frame.f_back) if frame.f_back is not None else None
    return tuple(chain)


def is_users(file: str) -> bool:
    """Whether a source file is the user's own."""
    if file.startswith("<"):
        return False
    path = file.replace("\\", "/")
    installed = "/site-packages/" in path or "/dist-packages/" in path
    return not (installed or file.startswith(_OURS) or file.startswith(_PYTHON))
