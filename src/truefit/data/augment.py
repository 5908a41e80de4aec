"""From stored images to the network's input: gather, augment and normalise a whole batch at once.

Images are stored as (N, H, W, C). A batch gathered from there is contiguous in that order, so the (N, C, H, W)
view handed to the network is already in channels_last memory format: nothing is copied to change the layout, unless
the network can't take it.
Every sample has parameters of its own, drawn for the whole batch from one generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from truefit.data.policy import change
from truefit.data.shares import taken
from truefit.precision import sent
from truefit.recipes.recipe import AugmentConfig

# Of random erasing: the smallest and the largest part of the area, and height to width from 1 / 3.3 to 3.3.
ERASED = (0.02, 0.33)
PROPORTIONS = 3.3

NO_AUGMENTATION = AugmentConfig(flip=False, shift=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """What decides the augmentation of one training batch.

    mirrored: (N,) bool on the host, which to mirror where images are mirrored; None draws it. progress: the part of
    the training that lies behind this batch, from 0 to below 1. whole, part: how many samples the step has, and which
    of them these are (a slice or positions), where several processes share it; each draws for all, so that a sample's
    draw does not depend on their number.
    """

    generator: torch.Generator
    mirrored: Tensor | None = None
    progress: float = 0.0
    whole: int | None = None
    part: slice | Tensor | None = None

    def uniform(self, samples: int, *shape: int) -> Tensor:
        """Numbers from 0 to below 1, (samples, *shape), on the host."""
        whole = samples if self.whole is None else self.whole
        drawn = torch.rand(whole, *shape, generator=self.generator)
        return drawn if self.part is None else taken(drawn, self.part)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Stored images to input: `(pixel / scale - mean) / std` per channel, after augmentation where asked.

    scale: 255 for uint8 images; 1 for tensors that come from a user's data set.
    mean, std: per channel, in units of pixel / scale. An empty tuple leaves values as they are.
    crop: side of the part that is used, as a fraction of the image's (above 0, at most 1): at a random place
    where there is a draw, else the centre. shrink: factor on that part's side (above 0, at most 1), with Lanczos's
    filter; in the first half of the training it is `augmentation.start_shrink`.
    channels_last: how the batch lies in memory; False is contiguous. dtype: the network's floating type, by its name.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 1.0
    crop: float = 1.0
    shrink: float = 1.0
    channels_last: bool = True
    dtype: str = "float32"
    augmentation: AugmentConfig = NO_AUGMENTATION

    def __call__(self, store: Tensor, rows: Tensor | None, draw: Draw | None) -> Tensor:
        """The batch `store[rows]` as (N, C, H, W); augmented where there is a draw.

        store: (n, H, W, C), uint8 or float. rows: (N,) int64, or None for all.
        """
        how = self.augmentation
        shrink = self.shrink
        if draw is not None and how.start_shrink is not None and draw.progress < 0.5:
            shrink = how.start_shrink
        if draw is not None and (how.flip or how.shift or self.crop < 1):
            images = _window(store, rows, self.crop, how, draw)
        else:
            images = _centre(store if rows is None else store.index_select(0, rows), self.crop)
        if draw is not None and how.policy != "none":
            images = change(images, how, draw, tuple(self.scale * value for value in self.mean))
        if shrink < 1:
            images = _shrunk(images, shrink)
        images = self._normalise(images)
        if draw is not None:
            _jitter(images, how, draw)
            _cutout(images, how, draw)
            _erase(images, how, draw)
        images = images.permute(0, 3, 1, 2)
        return images if self.channels_last else images.contiguous()

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.to(getattr(torch, self.dtype), memory_format=torch.contiguous_format, copy=True)
        if self.mean:
            # Row by row, the channels repeated along it: the same values, several times faster than three at a time.
            factor, offset = _along_a_row(self.mean, self.std, self.scale, images.shape[2], images.device)
            images.view(*images.shape[:2], -1).mul_(factor).sub_(offset)
            return images
        return images if self.scale == 1 else images.div_(self.scale)


@lru_cache(maxsize=64)
def _along_a_row(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What a row of pixels is multiplied by, and what is then taken off: each (width x channels,)."""
    deviation = torch.tensor(std)
    factor, offset = 1 / (deviation * scale), torch.tensor(mean) / deviation
    return factor.repeat(width).to(device), offset.repeat(width).to(device)


def _window(store: Tensor, rows: Tensor | None, crop: float, how: AugmentConfig, draw: Draw) -> Tensor:
    """A part of each image at a random place, which may reach beyond the border by `how.shift`; perhaps mirrored."""
    height, width = store.shape[1:3]
    samples = len(store) if rows is None else len(rows)
    high, wide = _sides(store, crop)
    beyond = torch.tensor([round((how.shift or 0) * height), round((how.shift or 0) * width)])
    places = torch.tensor([height - high, width - wide]) + 2 * beyond + 1
    offsets = sent((draw.uniform(samples, 2) * places).floor().long() - beyond, store.device)
    y = _reflected(torch.arange(high, device=store.device) + offsets[:, :1], height)
    x = _reflected(torch.arange(wide, device=store.device) + offsets[:, 1:], width)
    if how.flip:
        mirrored = draw.mirrored
        if mirrored is None:
            mirrored = draw.uniform(samples) < 0.5
        x = torch.where(sent(mirrored, store.device)[:, None], x.flip(1), x)
    if rows is None:
        rows = torch.arange(samples, device=store.device)
    pixels = (rows[:, None, None] * height + y[:, :, None]) * width + x[:, None, :]
    # One gather samples, shifts and mirrors: rows of C values from the flattened store.
    flat = store.reshape(-1, store.shape[3]).index_select(0, pixels.reshape(-1))
    return flat.view(samples, high, wide, store.shape[3])


def _centre(images: Tensor, crop: float) -> Tensor:
    """The middle part of each image, a view."""
    high, wide = _sides(images, crop)
    top, left = (images.shape[1] - high) // 2, (images.shape[2] - wide) // 2
    return images[:, top : top + high, left : left + wide]


def _shrunk(images: Tensor, factor: float) -> Tensor:
    """Images (N, H, W, C) made smaller, float32: two matrix products, which run fast everywhere."""
    samples, height, width, channels = images.shape
    high, wide = _sides(images, factor)
    down = _lanczos(height, high, 1, images.device)
    across = _lanczos(width, wide, channels, images.device)
    squeezed = down @ images.to(torch.float32).reshape(samples, height, width * channels)
    return (squeezed.reshape(samples * high, width * channels) @ across.T).view(samples, high, wide, channels)


@lru_cache(maxsize=64)
def _lanczos(full: int, small: int, channels: int, device: torch.device) -> Tensor:
    """(small x channels, full x channels): each new pixel as a weighted mean of the old ones about its centre.

    The weights are sinc(d) sinc(d / 3), d the distance in new pixels, up to 3 (Duchon 1979, "Lanczos Filtering in One
    and Two Dimensions"): small images keep more of their detail than through a triangle.
    """
    scale = full / small
    centres = (torch.arange(small, dtype=torch.float64) + 0.5) * scale
    distance = (torch.arange(full) + 0.5 - centres[:, None]) / scale
    weights = torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0.0)
    weights /= weights.sum(dim=1, keepdim=True)
    return torch.kron(weights.to(torch.float32), torch.eye(channels)).to(device)


def _sides(images: Tensor, crop: float) -> tuple[int, int]:
    return round(crop * images.shape[1]), round(crop * images.shape[2])


def _reflected(positions: Tensor, size: int) -> Tensor:
    positions = positions.abs()
    return (size - 1) - ((size - 1) - positions).abs()


def _uniform(samples: int, largest: float, draw: Draw, like: Tensor) -> Tensor:
    """Factors from 1 - largest to 1 + largest, one a sample, shaped to multiply images (N, H, W, C)."""
    factors = 1 + largest * (2 * draw.uniform(samples) - 1)
    return sent(factors, like.device)[:, None, None, None]


def _jitter(images: Tensor, how: AugmentConfig, draw: Draw) -> None:
    if how.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images.sub_(mean).mul_(_uniform(len(images), how.contrast, draw, images)).add_(mean)
    if how.brightness:
        # Normalised pixels have unit spread, so a shift of up to `brightness` spreads is the relative change.
        images.add_(_uniform(len(images), how.brightness, draw, images) - 1)


def _cutout(images: Tensor, how: AugmentConfig, draw: Draw) -> None:
    if not how.cutout:
        return
    samples, height, width = images.shape[:3]
    centre = draw.uniform(samples, 2)
    inside = []
    for axis, size in enumerate((height, width)):
        distance = (torch.arange(size) + 0.5 - centre[:, axis : axis + 1] * size).abs()
        inside.append(sent(distance <= how.cutout * size / 2, images.device))
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    images.masked_fill_(hole[..., None], 0.0)


def _erase(images: Tensor, how: AugmentConfig, draw: Draw) -> None:
    """Zhong et al. 2020, "Random Erasing Data Augmentation": area and proportions of the rectangle are theirs."""
    if not how.erase:
        return
    samples, height, width = images.shape[:3]
    coin, area, ratio, *places = draw.uniform(samples, 5).unbind(dim=1)
    side = ((ERASED[0] + (ERASED[1] - ERASED[0]) * area) * height * width).sqrt()
    stretch = (math.log(PROPORTIONS) * (ratio - 0.5)).exp()
    inside = []
    for size, length, place in zip((height, width), (side * stretch, side / stretch), places, strict=True):
        # A rectangle that is longer than the image is as long as the image.
        length = length.round().clamp(max=size)
        begin = (place * (size - length + 1)).floor()
        at = torch.arange(size)
        inside.append((at >= begin[:, None]) & (at < (begin + length)[:, None]) & (coin < how.erase)[:, None])
    hole = sent(inside[0], images.device)[:, :, None] & sent(inside[1], images.device)[:, None, :]
    images.masked_fill_(hole[..., None], 0.0)
