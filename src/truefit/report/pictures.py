"""Pictures of chosen samples, for the page: from the data in memory or where it still lies, in one small sprite."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from truefit.data.images import decode_files
from truefit.data.imageset import ImageSet
from truefit.data.lookup import load_data
from truefit.data.sources import is_local
from truefit.errors import TruefitError
from truefit.runs.record import Record

# Tiles on a multiple of JPEG's blocks do not run into each other.
BLOCK = 16
SMALLEST, LARGEST = 32, 96
# Pixels of the whole sprite: about 2 MB as JPEG at the worst.
MOST_PIXELS = 3_500_000
QUALITY = 85
GREY = (128, 128, 128)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A sprite with a tile for each sample that could be read.

    tiles: row of the evaluation -> number of its tile, line by line from the top left. columns, lines: of the sprite.
    side: of a tile, in pixels. uri: the JPEG as a data URI. missing: why there are none, or fewer; empty where all
    are there.
    """

    tiles: dict[int, int] = field(default_factory=dict)
    columns: int = 1
    lines: int = 1
    side: int = SMALLEST
    uri: str = ""
    missing: str = ""


def room(record: Record) -> int:
    """How many tiles a sprite of this run may hold."""
    return MOST_PIXELS // _side(record) ** 2


def collect(record: Record, rows: Sequence[int], images: ImageSet | None = None) -> Pictures:
    """Tiles of the evaluation's rows. images: the very split that was evaluated, where it is in memory."""
    rows = list(dict.fromkeys(rows))[: room(record)]
    if not rows:
        return Pictures(missing="there is nothing to show")
    side = _side(record)
    found, missing = _find(record, rows, side, images)
    if not found:
        return Pictures(missing=missing)
    columns = max(1, math.isqrt(len(found) - 1) + 1)
    lines = -(-len(found) // columns)
    sprite = Image.new("RGB", (columns * side, lines * side), GREY)
    for tile, pixels in enumerate(found.values()):
        sprite.paste(_fitted(pixels, side), (tile % columns * side, tile // columns * side))
    file = BytesIO()
    sprite.save(file, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return Pictures(
        tiles={row: tile for tile, row in enumerate(found)},
        columns=columns,
        lines=lines,
        side=side,
        uri="data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii"),
        missing=missing,
    )


def _side(record: Record) -> int:
    size = record.config.get("predictor", {}).get("image_size") or LARGEST
    return min(max(-(-int(size) // BLOCK) * BLOCK, SMALLEST), LARGEST)


def _fitted(pixels: np.ndarray, side: int) -> Image.Image:
    """The image within a tile: enlarged or made smaller, its shape kept."""
    image = Image.fromarray(pixels)
    if image.size == (side, side):
        return image
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST)
    tile = Image.new("RGB", (side, side), GREY)
    tile.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    return tile


def _find(record: Record, rows: Sequence[int], side: int, images: ImageSet | None) -> tuple[dict[int, np.ndarray], str]:
    """Pixels of each row that could be had, and why others could not."""
    evaluation = record.evaluation
    assert evaluation is not None
    if record.config.get("predictor", {}).get("images") == "tensors":
        return {}, "the data set gave tensors, not pictures"
    try:
        if images is None and evaluation.paths is not None:
            return _from_files(record, rows, side, evaluation.paths)
        if images is None:
            images = from_source(record, evaluation.split)
        if images is None:
            return {}, "the data was given in Python, or would have to be downloaded"
        if len(images) != evaluation.n:
            return {}, "the data is not what it was"
        index = evaluation.index[list(rows)]
        return dict(zip(rows, images.read(index), strict=True)), ""
    except TruefitError as error:
        return {}, f"the data can't be read any more ({error.what})"


def _from_files(
    record: Record, rows: Sequence[int], side: int, paths: Sequence[str]
) -> tuple[dict[int, np.ndarray], str]:
    resize = record.config.get("predictor", {}).get("resize", "crop")
    there = [row for row in rows if Path(paths[row]).is_file()]
    if not there:
        return {}, f"the files are no longer where they were ({Path(paths[rows[0]]).parent.parent})"
    pixels, unreadable = decode_files([paths[row] for row in there], size=side, resize=resize)
    assert pixels is not None
    found = {row: pixels[at] for at, row in enumerate(there) if at not in unreadable}
    lost = len(rows) - len(found)
    return found, f"{lost:,} of {len(rows):,} files are no longer there or can't be read" if lost else ""


def from_source(record: Record, split: str) -> ImageSet | None:
    """The split of a data set with a name, where nothing has to be downloaded and it is what it was."""
    about = record.config.get("data", {})
    if "options" not in about or not is_local(about["spec"]):
        return None
    data = load_data(about["spec"], **about["options"])
    images = next((part for part in data.splits if part.split == split), None)
    if images is None or images.fingerprint() != about["splits"].get(split, {}).get("fingerprint"):
        return None
    return images
