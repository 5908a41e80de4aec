"""The events of a training: what observers are told.

An observer is any callable that takes one event. Tensors in an event are detached references on the device,
valid until the observer returns; reading one on the host (`.item()`) would stop the device, so an observer that
wants figures takes them from `Progress`, which is read back at most five times a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class PassSoFar:
    """A pass that is not complete: losses and sizes of the batches done, and hits where they are counted.

    `missed`: steps in a row that a gradient scaler has skipped.
    """

    losses: list[float]
    sizes: list[int]
    correct: int | None = None
    missed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FitStarted:
    """Training begins. `device` is a sentence such as "Running on the CPU (2 threads)"."""

    epochs: int
    device: str
    training_samples: int | None
    validation_samples: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PassStarted:
    """One pass over a split begins. `steps` and `samples` are None where the data set has no length."""

    split: str
    epoch: int
    steps: int | None
    samples: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFinished:
    """One optimiser step was taken. `loss` is a 0-d tensor, the mean over the step's samples.

    `so_far` reads the figures of the epoch so far back from the device, and raises NonFiniteError where a step was
    not finite: for saving, as it makes the host wait.
    """

    epoch: int
    step: int
    samples: int
    loss: Tensor
    so_far: Callable[[], PassSoFar]


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Figures of the pass so far, on the host. `accuracy` (0..1) is None where hits are not counted."""

    split: str
    epoch: int
    step: int
    samples: int
    loss: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PassFinished:
    """A pass over a split is complete."""

    split: str
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A split was evaluated: labels and predicted classes, int64 (n,) on the host, in the split's order."""

    split: str
    epoch: int
    label: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochFinished:
    """An epoch, its evaluations included, is complete. `record` is its line of the history."""

    epoch: int
    epochs: int
    record: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something the user should know, in a sentence. `warning`: it puts a figure in doubt."""

    text: str
    warning: bool = False


Event: TypeAlias = FitStarted | PassStarted | StepFinished | Progress | PassFinished | Measured | EpochFinished | Note
Observer: TypeAlias = Callable[[Event], None]


def nobody(event: Event) -> None:
    """The observer that ignores everything."""
