"""Small folders of images for the tests of the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"apple": (200, 40, 40), "banana": (210, 200, 50), "cherry": (90, 20, 90)}
SIDE = 24
# ConvNet on 24 x 24 images, three steps an epoch: about as little as a real training can be.
SMALL = ("--epochs", "2", "--batch-size", "16", "--device", "cpu")
# The default recipe keeps an average of the weights. After so few steps it has learnt little: errors of an export
# hardly show in what it says. With this the last weights themselves are kept.
NO_AVERAGE = ("--ema.decay", "None")


def draw(path: Path, colour: tuple[int, int, int], number: int, side: int = SIDE) -> Path:
    """A noisy image of one colour; `number` decides the noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([number, *colour]).normal(0, 45, (side, side, 3))
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def draw_classes(folder: Path, each: int, first: int = 0, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Path:
    """A folder of class folders with `each` images a class."""
    for name, colour in colours.items():
        for number in range(first, first + each):
            draw(folder / name / f"{number}.png", colour, number)
    return folder
