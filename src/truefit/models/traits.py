"""What the loop must know of a network beforehand."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

# How many training images a network that begins with what they are like is shown.
INITIAL_IMAGES = 5_000


@runtime_checkable
class FromImages(Protocol):
    """A network some of whose first weights are computed from training images."""

    def initialise_from(self, images: Tensor) -> None:
        """Set them. images: (N, C, H, W) float32, normalised, N up to INITIAL_IMAGES. Draws no random number."""


def has_batchnorm(network: nn.Module) -> bool:
    """Whether any module needs more than one value a channel in train mode."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
