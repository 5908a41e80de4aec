"""From stored images to the network's input: gather, augment and normalise a whole batch at once.

Images are stored as (N, H, W, C). A batch gathered from there is contiguous in that order, so the (N, C, H, W)
view handed to the network is already in channels_last memory format: nothing is copied to change the layout.
Every sample has parameters of its own, drawn for the whole batch from one generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from truefit.recipes.recipe import AugmentConfig

NO_AUGMENTATION = AugmentConfig(flip=False, shift=0.0)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Stored images to input: `(pixel / scale - mean) / std` per channel, after augmentation where asked.

    scale: 255 for uint8 images; 1 for tensors that come from a user's data set.
    mean, std: per channel, in units of pixel / scale. An empty tuple leaves values as they are.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 1.0
    augmentation: AugmentConfig = NO_AUGMENTATION

    def __call__(self, store: Tensor, rows: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """The batch `store[rows]` as float (N, C, H, W) in channels_last; augmented where a generator is given.

        store: (n, H, W, C), uint8 or float. rows: (N,) int64, or None for all.
        """
        augmentation = self.augmentation if generator is not None else NO_AUGMENTATION
        if generator is not None and (augmentation.flip or augmentation.shift):
            images = _shift_and_flip(store, rows, augmentation, generator)
        else:
            images = store if rows is None else store.index_select(0, rows)
        images = self._normalise(images)
        if generator is not None:
            _jitter(images, augmentation, generator)
            _cutout(images, augmentation, generator)
        return images.permute(0, 3, 1, 2)

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.to(torch.float32, copy=True)
        if self.mean:
            mean = torch.tensor(self.mean, device=images.device)
            std = torch.tensor(self.std, device=images.device)
            return images.mul_(1 / (std * self.scale)).sub_(mean / std)
        return images if self.scale == 1 else images.div_(self.scale)


def _shift_and_flip(store: Tensor, rows: Tensor | None, how: AugmentConfig, generator: torch.Generator) -> Tensor:
    height, width = store.shape[1:3]
    samples = len(store) if rows is None else len(rows)
    limits = torch.tensor([round((how.shift or 0) * height), round((how.shift or 0) * width)])
    offsets = (torch.rand(samples, 2, generator=generator) * (2 * limits + 1)).floor().long() - limits
    flips = torch.rand(samples, generator=generator) < 0.5
    y = _reflected(torch.arange(height) + offsets[:, :1], height)
    x = _reflected(torch.arange(width) + offsets[:, 1:], width)
    if how.flip:
        x = torch.where(flips[:, None], width - 1 - x, x)
    if rows is None:
        rows = torch.arange(samples, device=store.device)
    pixels = (rows[:, None, None] * height + y.to(store.device)[:, :, None]) * width + x.to(store.device)[:, None, :]
    # One gather samples, shifts and mirrors: rows of C values from the flattened store.
    flat = store.reshape(-1, store.shape[3]).index_select(0, pixels.reshape(-1))
    return flat.view(samples, height, width, store.shape[3])


def _reflected(positions: Tensor, size: int) -> Tensor:
    positions = positions.abs()
    return (size - 1) - ((size - 1) - positions).abs()


def _uniform(samples: int, largest: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """Factors from 1 - largest to 1 + largest, one a sample, shaped to multiply images (N, H, W, C)."""
    draw = 1 + largest * (2 * torch.rand(samples, generator=generator) - 1)
    return draw.to(like.device)[:, None, None, None]


def _jitter(images: Tensor, how: AugmentConfig, generator: torch.Generator) -> None:
    if how.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images.sub_(mean).mul_(_uniform(len(images), how.contrast, generator, images)).add_(mean)
    if how.brightness:
        # Normalised pixels have unit spread, so a shift of up to `brightness` spreads is the relative change.
        images.add_(_uniform(len(images), how.brightness, generator, images) - 1)


def _cutout(images: Tensor, how: AugmentConfig, generator: torch.Generator) -> None:
    if not how.cutout:
        return
    samples, height, width = images.shape[:3]
    centre = torch.rand(samples, 2, generator=generator)
    inside = []
    for axis, size in enumerate((height, width)):
        distance = (torch.arange(size) + 0.5 - centre[:, axis : axis + 1] * size).abs()
        inside.append((distance <= how.cutout * size / 2).to(images.device))
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    images.masked_fill_(hole[..., None], 0.0)
