"""A training into a folder: taken, taken up where it was broken off, watched for signals, and given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from truefit.checkpoint.interval import Interval
from truefit.checkpoint.signals import Signals
from truefit.events import Observer
from truefit.fitting.fit import Fit
from truefit.fitting.keeping import Keeping, is_done, take_up
from truefit.runs.folder import RunFolder
from truefit.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class FolderUse:
    """How a folder is used. overwrite: a run in it may be replaced. resume: it is gone on with where there is one.

    Neither: the folder is new or empty. interval, requeue: see `Keeping`. after: called with each run that was
    written, while the folder is still this process's.
    """

    overwrite: bool = False
    resume: bool = False
    interval: Interval = field(default_factory=Interval)
    requeue: bool = False
    after: Callable[[Run, Fit], None] | None = None


def fit_into(
    path: str | Path, fit: Fit, use: FolderUse, *, notify: Observer, finished: Callable[[RunFolder], Run] | None = None
) -> Run:
    """Run the training in a folder, as `FolderUse` says. finished: gives the run that is there already, complete.

    Raises InputError where the folder holds something else, or another process is at work in it.
    """
    folder = RunFolder.take(path) if use.resume else RunFolder.create(path, overwrite=use.overwrite)
    try:
        config = fit.describe()
        if use.resume and finished is not None and is_done(folder, config):
            return finished(folder)
        found = take_up(folder, config, notify) if use.resume else None
        with Signals().watched() as signals:
            keeping = Keeping(folder=folder, signals=signals, interval=use.interval, found=found, requeue=use.requeue)
            run = fit.run(keeping)
            if use.after is not None:
                use.after(run, fit)
        return run
    finally:
        folder.release()
