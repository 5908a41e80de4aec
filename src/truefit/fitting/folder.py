"""A training into a folder: taken, taken up where it was broken off, watched for signals, and given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from truefit import dist
from truefit.atomic import FIX
from truefit.checkpoint.interval import Interval
from truefit.checkpoint.signals import Signals
from truefit.checkpoint.store import Found
from truefit.errors import StorageError, with_fix
from truefit.events import Observer
from truefit.fitting.fit import Fit
from truefit.fitting.keeping import Keeping, is_done, take_up
from truefit.runs.folder import RunFolder
from truefit.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class FolderUse:
    """How a folder is used. overwrite: a run in it may be replaced. resume: it is gone on with where there is one.

    Neither: the folder is new or empty. interval, requeue: see `Keeping`. after: called with each run that was
    written, while the folder is still this process's. finished: gives the run that stands there already, complete;
    without it, such a run is an error.
    """

    overwrite: bool = False
    resume: bool = False
    interval: Interval = field(default_factory=Interval)
    requeue: bool = False
    after: Callable[[Run, Fit], None] | None = None
    finished: Callable[[Path], Run] | None = None


def fit_into(path: str | Path, fit: Fit, use: FolderUse, *, notify: Observer) -> Run:
    """Run the training in a folder, as `FolderUse` says. finished: gives the run that is there already, complete.

    Of several processes the first one takes the folder, and is the only one that writes. Raises InputError where the
    folder holds something else, or another process is at work in it.
    """
    folder = _take(path, use) if dist.is_first() else None
    try:
        config = fit.describe()
        done, found = dist.from_first(lambda: _look_into(folder, config, use, notify))
        if done:
            assert use.finished is not None
            return use.finished(Path(path))
        with Signals().watched() as signals:
            keeping = Keeping(
                place=Path(path),
                folder=folder,
                signals=signals,
                interval=use.interval,
                found=found,
                requeue=use.requeue,
            )
            run = fit.run(keeping)
            if use.after is not None and folder is not None:
                with dist.alone():
                    use.after(run, fit)
        return run
    except StorageError as error:
        raise with_fix(error, f"{error.details.get('fix', FIX)}; then go on with --resume") from error
    finally:
        if folder is not None:
            folder.release()


def _take(path: str | Path, use: FolderUse) -> RunFolder:
    return RunFolder.take(path) if use.resume else RunFolder.create(path, overwrite=use.overwrite)


def _look_into(
    folder: RunFolder | None, config: dict[str, Any], use: FolderUse, notify: Observer
) -> tuple[bool, Found | None]:
    """Whether the folder holds this very run, finished; and the checkpoint to go on from, where it does not."""
    assert folder is not None
    if not use.resume:
        return False, None
    if use.finished is not None and is_done(folder, config):
        return True, None
    return False, take_up(folder, config, notify)
