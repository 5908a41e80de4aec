"""What is being learnt: a task owns label checks, the loss, and what counts as a hit. One file a task."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from truefit.data.batch import Batch


class Task(Protocol):
    """All that the loop knows about the aim of a training."""

    def check(self, outputs: Tensor, batch: Batch) -> None:
        """Raise where the outputs or the labels of this batch can't be right; looks at host values only."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss to be minimised, a 0-d tensor: the mean over the samples."""
        ...

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """How many samples are hit, a 0-d integer tensor; None where hits are not counted."""
        ...
