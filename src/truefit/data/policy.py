"""RandAugment and TrivialAugment: named changes of an image's geometry and colours, drawn for each image by itself.

Sources: Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search space"; Müller and
Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation" (its wide space). A batch goes through
each change once: all that are moved in one resampling, those of a colour change together. Kernels that have no size to
them are torchvision's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from truefit.recipes.recipe import AugmentConfig

if TYPE_CHECKING:
    from truefit.data.augment import Draw

CHANGES = (
    "identity",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
_MOVING = CHANGES.index("rotate")

# The largest of each: shear as a slope, translation as a part of the side, degrees, 1 +- for the factors, bits lost.
_LARGEST: dict[str, dict[str, float]] = {
    "randaugment": {"shear": 0.3, "translate": 150 / 331, "rotate": 30, "factor": 0.9, "bits": 4},
    "trivialaugment": {"shear": 0.99, "translate": 32 / 224, "rotate": 135, "factor": 0.99, "bits": 6},
}


def change(images: Tensor, how: AugmentConfig, draw: Draw, empty: tuple[float, ...]) -> Tensor:
    """Images (N, H, W, 3) uint8 after the policy of `how`: new ones of the same shape and dtype.

    randaugment: `policy_ops` changes for each image, of strength `policy_magnitude`. trivialaugment: one, of a drawn
    strength. empty: the colour (0..255) of what comes in from beyond the border; () is black.
    """
    largest, random = _LARGEST[how.policy], how.policy == "trivialaugment"
    turns = 1 if random else how.policy_ops
    drawn = draw.uniform(len(images), turns, 3)
    kinds = (drawn[:, :, 0] * len(CHANGES)).long()
    strengths = drawn[:, :, 1] if random else torch.full_like(drawn[:, :, 1], how.policy_magnitude)
    signs = torch.where(drawn[:, :, 2] < 0.5, -1.0, 1.0)
    # Channels first for the kernels: a view, whose memory stays as it was.
    changed = images.clone().permute(0, 3, 1, 2)
    for turn in range(turns):
        _one_each(changed, kinds[:, turn], strengths[:, turn], signs[:, turn], largest, empty)
    return changed.permute(0, 2, 3, 1)


def _one_each(
    images: Tensor,
    kinds: Tensor,
    strengths: Tensor,
    signs: Tensor,
    largest: dict[str, float],
    empty: tuple[float, ...],
) -> None:
    """One change to each of the images (N, 3, H, W), in place. kinds, strengths (0..1), signs: (N,), on the host."""

    def chosen(which: Tensor) -> Tensor:
        return which.nonzero()[:, 0]

    moved = chosen((kinds >= 1) & (kinds <= _MOVING))
    if len(moved):
        matrices = _matrices(kinds[moved], strengths[moved] * signs[moved], largest, *images.shape[2:])
        at = moved.to(images.device)
        images[at] = _resampled(images[at], matrices.to(images.device), empty)
    for kind in range(_MOVING + 1, len(CHANGES)):
        rows = chosen(kinds == kind)
        if len(rows):
            at = rows.to(images.device)
            strength, sign = (values[rows].to(images.device).view(-1, 1, 1, 1) for values in (strengths, signs))
            images[at] = _recoloured(CHANGES[kind], images[at], strength, sign, largest)


def _matrices(kinds: Tensor, strengths: Tensor, largest: dict[str, float], height: int, width: int) -> Tensor:
    """(N, 2, 3): where each pixel of the result comes from, in `affine_grid`'s coordinates (-1..1 across the image)."""
    matrices = torch.eye(2, 3).repeat(len(kinds), 1, 1)

    def only(name: str, values: Tensor) -> Tensor:
        return torch.where(kinds == CHANGES.index(name), values, 0.0)

    # These coordinates are parts of the half side: what is true of pixels needs the sides' ratio.
    ratio = height / width
    matrices[:, 0, 1] += only("shear-x", strengths * largest["shear"] * ratio)
    matrices[:, 1, 0] += only("shear-y", strengths * largest["shear"] / ratio)
    matrices[:, 0, 2] += only("translate-x", strengths * largest["translate"] * 2)
    matrices[:, 1, 2] += only("translate-y", strengths * largest["translate"] * 2)
    angle = only("rotate", strengths * math.radians(largest["rotate"]))
    matrices[:, 0, 0] += angle.cos() - 1
    matrices[:, 1, 1] += angle.cos() - 1
    matrices[:, 0, 1] += angle.sin() * ratio
    matrices[:, 1, 0] -= angle.sin() / ratio
    return matrices


def _resampled(images: Tensor, matrices: Tensor, empty: tuple[float, ...]) -> Tensor:
    """Images (N, 3, H, W) uint8 resampled bilinearly, the border filled with one colour."""
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    colour = torch.tensor(empty or (0.0,) * images.shape[1], device=images.device).view(1, -1, 1, 1)
    found = F.grid_sample(images.float() - colour, grid, mode="bilinear", align_corners=False) + colour
    return found.round().clamp(0, 255).to(torch.uint8)


def _recoloured(name: str, images: Tensor, strength: Tensor, sign: Tensor, largest: dict[str, float]) -> Tensor:
    """Images (N, 3, H, W) uint8 after a change of colours; strength, sign: (N, 1, 1, 1)."""
    from torchvision.transforms.v2 import functional as kernels

    # torchvision has no types for its kernels.
    kernel: Any = kernels
    if name == "autocontrast":
        return kernel.autocontrast(images)  # type: ignore[no-any-return]
    if name == "equalize":
        return kernel.equalize(images)  # type: ignore[no-any-return]
    if name == "posterize":
        lost = 2 ** (strength * largest["bits"]).round().int()
        return (images.int() // lost * lost).to(torch.uint8)
    if name == "solarize":
        return torch.where(images >= 255 * (1 - strength), 255 - images, images)
    # The others lie between the image and one that lacks what is changed, or beyond the image.
    if name == "brightness":
        without = torch.zeros_like(images)
    elif name == "color":
        without = kernel.rgb_to_grayscale(images, num_output_channels=3)
    elif name == "contrast":
        grey = kernel.rgb_to_grayscale(images).float()
        without = grey.mean(dim=(1, 2, 3), keepdim=True).floor().expand(images.shape)
    else:
        without = kernel.adjust_sharpness(images, 0.0)
    factor = 1 + sign * strength * largest["factor"]
    blended = without + factor * (images.float() - without.float())
    return blended.round().clamp(0, 255).to(torch.uint8)
