"""What the loop must know of a network beforehand."""

from __future__ import annotations

from torch import nn


def has_batchnorm(network: nn.Module) -> bool:
    """Whether any module needs more than one value a channel in train mode."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
