"""What monitors look at: the network, and which of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from truefit.events import StepFinished

EVERY = 10
"""Of so many steps of an epoch one is looked at."""
VALUES = 256
"""Weights of each tensor that are looked at, evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The training. classes: K, None where not known. counts: how much of each class an epoch has, its samples times
    their weight in the loss; None where not known. focal: the gamma of the focal loss, 0 for cross-entropy.
    """

    network: nn.Module
    classes: int | None = None
    counts: npt.NDArray[np.float64] | None = None
    focal: float = 0.0


def before_a_look(event: StepFinished) -> bool:
    """Whether the next step is one that is looked at."""
    return event.step % EVERY == 0


def is_looked_at(event: StepFinished) -> bool:
    """Whether this step is one that is looked at: the 2nd, the 12th... of an epoch."""
    return event.step % EVERY == 1


class Remembering:
    """What a monitor has seen is part of the training's state, so that a training that was broken off is judged whole.

    STATE: its attributes that change: plain values, tensors, lists and dicts of them, or None.
    """

    STATE: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Any]:
        """Refers to the live values."""
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises KeyError where something is missing."""
        for name in self.STATE:
            setattr(self, name, state[name])


class Sample:
    """A few values of each trainable tensor, read where they stand: one small copy a call."""

    def __init__(self, network: nn.Module, *, least_dimensions: int = 0) -> None:
        self.names: list[str] = []
        self._views: list[Tensor] = []
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad or parameter.ndim < least_dimensions or not _is_dense(parameter):
                continue
            data = parameter.detach()
            stride = max(1, data.numel() // VALUES)
            # A view of the storage, whatever the memory format.
            self._views.append(data.as_strided((data.numel() // stride,), (stride,)))
            self.names.append(name)
        sizes = [len(view) for view in self._views]
        device = self._views[0].device if self._views else "cpu"
        self._owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))
        self._owner = self._owner.to(device)

    def __len__(self) -> int:
        return len(self.names)

    def values(self) -> Tensor:
        """(n,) float32 on the device: all tensors one after the other."""
        return torch.cat([view.float() for view in self._views])

    def sums(self, values: Tensor) -> Tensor:
        """(tensors,): the sum of the values of each."""
        return torch.zeros(len(self), device=values.device).index_add_(0, self._owner, values)


def _is_dense(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and (
        tensor.is_contiguous()
        or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
        or (tensor.ndim == 5 and tensor.is_contiguous(memory_format=torch.channels_last_3d))
    )
