"""The views of an image whose logits are averaged in a prediction: mirrored, and moved by a little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

AveragingName = Literal["none", "flip", "crops", "flip-crops"]

MOVED = 1 / 32
"""How far a crop lies from the middle, as a part of the side; in whole pixels, and at least one."""

_WORDS = {
    "flip": "averaged over each image and its mirror image",
    "crops": "averaged over three crops of each image",
    "flip-crops": "averaged over three crops of each image, and their mirror images",
}
# Down, right, weight: the image itself counts as much as the two that lie beside it, together.
_CROPS = ((0, 0, 2), (-1, -1, 1), (1, 1, 1))


@dataclass(frozen=True, kw_only=True)
class View:
    """mirrored: left and right changed. down, right: -1, 0 or 1, where the crop lies; the border is reflected. weight:
    of its logits in the mean.
    """

    mirrored: bool = False
    down: int = 0
    right: int = 0
    weight: int = 1

    def of(self, images: Tensor) -> Tensor:
        """This view of images (N, C, H, W), of the same shape."""
        if self.down or self.right:
            high, wide = _margins(images)
            wider = F.pad(images, (wide, wide, high, high), mode="reflect")
            top, left = (1 + self.down) * high, (1 + self.right) * wide
            images = wider[:, :, top : top + images.shape[2], left : left + images.shape[3]]
        return images.flip(3) if self.mirrored else images

    def back(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) of this view, laid on the image; 0 where it does not reach."""
        high, wide = _margins(maps)
        down, right = self.down * high, self.right * wide
        return F.pad(maps.flip(3) if self.mirrored else maps, (right, -right, down, -down))


def views(averaging: AveragingName) -> tuple[View, ...]:
    """none: the image itself. flip: and its mirror image. crops: the image, and two moved by `MOVED` of the side along
    the diagonal, each of half its weight. flip-crops: these and their mirror images.

    Source: the multi-crop evaluation of Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single GPU"
    (arXiv 2404.00498).
    """
    crops = _CROPS if averaging.endswith("crops") else ((0, 0, 1),)
    sides = (False, True) if averaging.startswith("flip") else (False,)
    return tuple(View(mirrored=m, down=down, right=right, weight=w) for down, right, w in crops for m in sides)


def averaged_over(averaging: str) -> str | None:
    """What is averaged, in words; None where nothing is."""
    return _WORDS.get(averaging)


def _margins(images: Tensor) -> tuple[int, int]:
    return max(1, round(MOVED * images.shape[2])), max(1, round(MOVED * images.shape[3]))
