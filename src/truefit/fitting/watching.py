"""The doctor's monitors over a training: what they are told of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from truefit.data.plan import counts
from truefit.fitting.setup import Setup
from truefit.monitors import Monitors
from truefit.monitors.subject import Subject
from truefit.tasks.single_label import SingleLabel


def watch(setup: Setup) -> Monitors | None:
    """The monitors of a training that is about to begin; None where none are wished for, or can be."""
    # Monitors read whole tensors, which no process has where the network is split.
    if not setup.plan.monitored or setup.shards is not None:
        return None
    # Of several labels a sample there is no one class that guessing would name.
    single = isinstance(setup.task, SingleLabel)
    classes = setup.classes if single else None
    subject = Subject(
        network=setup.network,
        classes=len(classes) if classes else None,
        counts=_shown(setup) if single else None,
        focal=setup.task.focal,
    )
    return Monitors(subject, setup.plan.notify)


def _shown(setup: Setup) -> npt.NDArray[np.float64] | None:
    """How much of each class an epoch has: its samples, by their weight in the loss."""
    if setup.images is None:
        return None
    found = np.bincount(setup.images.labels, minlength=len(setup.images.classes)).astype(np.float64)
    if setup.balanced is not None:
        for label, count in counts(setup.balanced).items():
            found[label] = count
    return found if setup.task.weights is None else found * setup.task.weights.double().cpu().numpy()
