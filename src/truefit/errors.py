"""What can go wrong, said so that a reader can act on it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches


class TruefitWarning(UserWarning):
    """Something is legal but almost surely not what was meant."""


class TruefitError(Exception):
    """An error with its circumstances: what happened, where, what was found, what was wanted, how to fix it.

    `exit_code` is the status with which the command ends.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        found: object = None,
        wanted: object = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        details = {"where": where, "found": found, "wanted": wanted, "fix": fix}
        self.details = {label: str(detail) for label, detail in details.items() if detail is not None}
        super().__init__("\n".join([what, *(f"  {label + ':':<8}{text}" for label, text in self.details.items())]))


class InputError(TruefitError, ValueError):
    """The input, or the way of asking, is wrong: exit code 2."""

    exit_code = 2


class StorageError(TruefitError):
    """The system refuses to store something: a full disk, a folder without the right to write."""


class DeviceMemoryError(TruefitError):
    """A batch needs more memory than the device has."""


class Interrupted(KeyboardInterrupt):
    """Training was asked to end by a signal, and has ended between two steps. `exit_code`: 128 + its number.

    saved: where a training whose state was saved goes on, such as `epoch 2, step 3`.
    """

    def __init__(self, text: str, number: int, *, saved: str | None = None) -> None:
        self.exit_code, self.saved = 128 + number, saved
        super().__init__(text)


class NonFiniteError(InputError):
    """Loss or gradient became NaN or infinite; the weights are those from before that step.

    Attributes: `epoch` and `step` (from 0) of the first such step, `indices` of its samples where known.
    """

    def __init__(self, what: str, *, epoch: int, step: int, indices: list[int] | None, **details: str) -> None:
        self.epoch, self.step, self.indices = epoch, step, indices
        super().__init__(what, **details)


def with_fix(error: StorageError, fix: str) -> StorageError:
    """The same error with another way to fix it."""
    return StorageError(error.what, **{**error.details, "fix": fix})


def warn(text: str) -> None:
    """Warn with TruefitWarning, at the line outside of truefit that led here."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "truefit":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, TruefitWarning, stacklevel=level)


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean "x"?` for the closest known name, else the list of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(names)}"


def shorten(items: Iterable[object], limit: int = 20) -> str:
    """The first `limit` items, and how many more there are."""
    texts = [str(item) for item in items]
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {more} more" if more > 0 else "")
