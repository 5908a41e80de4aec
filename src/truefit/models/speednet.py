"""A network for the shortest trainings on a GPU: wide and shallow, made for images of 32 x 32.

After Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498): a fixed first convolution
that whitens patches of 2 x 2 (section 3.2), three blocks of two convolutions whose first is followed by a pool, with
BatchNorm and GELU, filters that begin as the identity (section 3.3), and logits scaled down.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 256, 256)
PATCH = 2
# Tensor cores take channels by eights: with 3, the first convolution falls back to a kernel several times slower.
CHANNELS = 8
# Each principal direction of a patch, and its negative.
DIRECTIONS = 2 * 3 * PATCH**2
LOGIT_SCALE = 1 / 64
# Added to the variances before they are inverted, so that directions with hardly any are not blown up.
LEAST_VARIANCE = 5e-4


class SpeedNet(nn.Module):
    """Images (N, 3, H, W), H and W from 24 to 64, to logits (N, num_classes).

    BatchNorm has no scale of its own, and follows the statistics quickly: there are few steps.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.whiten = _Whitening(3, DIRECTIONS, PATCH)
        self.blocks = nn.Sequential(
            *(_block(before, width) for before, width in zip((DIRECTIONS, *WIDTHS), WIDTHS, strict=False))
        )
        self.head = nn.Linear(WIDTHS[-1], num_classes, bias=False)
        with torch.no_grad():
            self.head.weight /= self.head.weight.std()

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(F.gelu(self.whiten(images)))
        # Not amax: compiled, its gradient looks for the largest value among values that were computed anew. And not
        # an adaptive pool, whose gradient adds up one by one.
        features = F.max_pool2d(features, features.shape[2:]).flatten(1)
        logits: Tensor = self.head(features) * LOGIT_SCALE
        return logits

    @torch.no_grad()
    def initialise_from(self, images: Tensor) -> None:
        """Whiten by the principal directions of patches of these images (N, 3, H, W), and leave it at that.

        Until this is called the first convolution is learnt as any other. Its bias stays too, as it was drawn: it is
        worth little, and its gradient alone would need that of the largest of all activations.
        """
        high, wide = images.shape[2] - PATCH + 1, images.shape[3] - PATCH + 1
        moved = [images[:, :, y : y + high, x : x + wide] for y in range(PATCH) for x in range(PATCH)]
        patches = torch.stack(moved, dim=2).permute(0, 3, 4, 1, 2).reshape(-1, 3 * PATCH**2)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        whitening = (directions / (variances + LEAST_VARIANCE).sqrt()).T.reshape(-1, 3, PATCH, PATCH)
        self.whiten.weight.copy_(torch.cat([whitening, -whitening]))
        self.whiten.requires_grad_(False)


class _Whitening(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        more = (0, 0, 0, 0, 0, CHANNELS - self.in_channels)
        return F.conv2d(F.pad(images, more), F.pad(self.weight, more), self.bias)


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(before, width),
        nn.MaxPool2d(2),
        _norm(width),
        nn.GELU(),
        _convolution(width, width),
        _norm(width),
        nn.GELU(),
    )


def _convolution(before: int, width: int) -> nn.Conv2d:
    convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
    # As many filters as there are channels begin by passing these on.
    nn.init.dirac_(convolution.weight[:before].detach())
    return convolution


def _norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


def names() -> list[str]:
    """The names under which this file's models are found."""
    return ["speednet"]


def build(name: str, num_classes: int) -> nn.Module:
    """A freshly initialised model."""
    return SpeedNet(num_classes)


def image_sizes(name: str) -> tuple[int, int, int]:
    """Smallest, usual and largest side of its images, in pixels."""
    return 24, 32, 64
