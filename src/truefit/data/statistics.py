"""Mean and deviation of each channel."""

from __future__ import annotations

import numpy as np

from truefit.data.imageset import ImageSet

ENOUGH = 20_000


def channel_statistics(images: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of red, green and blue in units of 0..1, rounded to 4 places.

    Counted exactly over all images, or over 20,000 evenly spaced ones where there are more.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), ENOUGH)).astype(np.int64))
    levels = np.zeros((3, 256), np.int64)
    for part in np.array_split(rows, max(1, len(rows) // 1000)):
        pixels = images.read(part)
        for channel in range(3):
            levels[channel] += np.bincount(pixels[..., channel].reshape(-1), minlength=256)
    values = np.arange(256) / 255
    count = levels.sum(axis=1)
    mean = levels @ values / count
    std = np.sqrt(np.maximum(levels @ values**2 / count - mean**2, 0))
    # A constant channel has no spread to divide by; one grey level is the smallest there is.
    return tuple(np.round(mean, 4).tolist()), tuple(np.round(np.maximum(std, 1 / 255), 4).tolist())
