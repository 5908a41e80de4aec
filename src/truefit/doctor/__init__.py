"""The doctor: finds silent bugs in training code. `truefit.doctor.check(model, loss, ...)` tries a training out.

`finding.py` is what every check gives. Nothing is imported here until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from truefit.doctor.dry_run import Checkup as Checkup
    from truefit.doctor.dry_run import check as check

__all__ = ["Checkup", "check"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from truefit.doctor import dry_run

    return getattr(dry_run, name)
