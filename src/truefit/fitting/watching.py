"""The doctor's monitors over a training: what they are told of it."""

from __future__ import annotations

import numpy as np

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
    images, classes = (setup.images, setup.classes) if single else (None, None)
    counts = np.bincount(images.labels, minlength=len(images.classes)) if images is not None else None
    subject = Subject(network=setup.network, classes=len(classes) if classes else None, counts=counts)
    return Monitors(subject, setup.plan.notify)
