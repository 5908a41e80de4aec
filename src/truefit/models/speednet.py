"""A network for the shortest trainings on a GPU: wide and shallow, made for images of 32 x 32.

In the spirit of Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498), section 3.1: a
small first convolution over patches of 2 x 2, three blocks of two convolutions whose first is followed by a pool,
BatchNorm and GELU, and logits scaled down. Unlike there, the first convolution is learnt and not a fixed whitening.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (64, 256, 256)
PATCHES = 24
LOGIT_SCALE = 1 / 9


class SpeedNet(nn.Module):
    """Images (N, 3, H, W), H and W from 24 to 64, to logits (N, num_classes)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, PATCHES, 2)
        self.blocks = nn.Sequential(
            *(_block(before, width) for before, width in zip((PATCHES, *WIDTHS), WIDTHS, strict=False))
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(WIDTHS[-1], num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.pool(self.blocks(nn.functional.gelu(self.patches(images)))).flatten(1)
        logits: Tensor = self.head(features) * LOGIT_SCALE
        return logits


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(width),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.GELU(),
    )


def names() -> list[str]:
    """The names under which this file's models are found."""
    return ["speednet"]


def build(name: str, num_classes: int) -> nn.Module:
    """A freshly initialised model."""
    return SpeedNet(num_classes)


def image_sizes(name: str) -> tuple[int, int, int]:
    """Smallest, usual and largest side of its images, in pixels."""
    return 24, 32, 64
