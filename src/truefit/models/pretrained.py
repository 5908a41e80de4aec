"""What is known of a model's pretrained weights before they are read: where they are, and what images they want."""

from __future__ import annotations

from dataclasses import dataclass

from truefit.data.images import Interpolation, Resize


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images must be prepared for weights, as their metadata say.

    image_size: side in pixels that images are brought to: their middle square ("crop"), or all of them ("stretch"),
    as `resize` says. crop: the centre part of that which the network sees, as a fraction of the side (above 0, at
    most 1). interpolation: how pixels are computed on the way. mean, std: of each channel, in units of 0..1.
    """

    image_size: int
    crop: float
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Resize = "crop"


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A model's own pretrained weights.

    places: where they may be found, tried in this order; each is a file in an installed package
    (`package:DISTRIBUTION/FILE`), a file of a hub (`hub:OWNER/REPOSITORY`) or an address. about: their name.
    """

    about: str
    places: tuple[str, ...]
    preprocessing: Preprocessing
