"""Networks that the command is given in the tests of several processes."""

from __future__ import annotations

import os

from torch import Tensor, nn


def small() -> nn.Module:
    """Without BatchNorm, with dropout; for images of 3 x 32 x 32 and ten classes."""
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(768, 10))


class _FailsInTheSecond(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, images: Tensor) -> Tensor:
        if os.environ.get("RANK") == "1" and self.training:
            raise ZeroDivisionError("this network fails in the second process")
        outputs: Tensor = self.network(images)
        return outputs


def failing() -> nn.Module:
    """Raises an error of its own in the second process, in the first step."""
    return _FailsInTheSecond()
