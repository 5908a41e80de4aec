"""Encoded images inside of larger files become the splits of a data set: each decoded once, to see that it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from truefit.data.images import MixedSizes, Pixels, decode_files, first_size
from truefit.data.imageset import ImageSet, available_memory
from truefit.data.listing import Rows, Samples
from truefit.data.packed import Packed
from truefit.errors import InputError, shorten

if TYPE_CHECKING:
    from truefit.data.sources import Options

OWN_SIZE_UP_TO = 512


def read_encoded(
    where: object, packed: Packed, rows: Rows, samples: Samples, options: Options, *, stream: bool = False
) -> tuple[dict[str, ImageSet], list[str]]:
    """The images at `rows` of `packed`, held in memory where they fit, else decoded anew in every epoch.

    stream: never held in memory. Returns the sets, and notes. Raises InputError listing what can't be read, unless
    `options.skip_unreadable`.
    """
    order = np.concatenate(list(rows.values()))
    images = packed.subset(order)
    size, own = options.image_size, False
    if size is None:
        width, height = first_size(images) or (0, 0)
        own = 0 < width == height <= OWN_SIZE_UP_TO
        size = width if own else options.default_image_size
    notes: list[str] = []

    def decode(size: int, own: bool) -> tuple[Pixels | None, dict[int, str]]:
        keep = not stream and len(order) * size * size * 3 <= options.memory_share * available_memory()
        return decode_files(
            images,
            size=size,
            resize=options.resize,
            interpolation=options.interpolation,
            own_size=own,
            keep=keep,
            on_progress=options.on_progress,
        )

    try:
        pixels, unreadable = decode(size, own)
    except MixedSizes:
        size, own = options.default_image_size, False
        pixels, unreadable = decode(size, own)
    if options.image_size is None and not own:
        notes.append(
            f"images do not have one square size up to {OWN_SIZE_UP_TO}: brought to {size} x {size} pixels "
            f"({options.resize}); --image-size chooses another"
        )
    if pixels is None:
        notes.append("images are read from where they lie in every epoch; --workers decodes them in more processes")
    if unreadable and (len(unreadable) == len(order) or not options.skip_unreadable):
        names = images.names()
        raise InputError(
            f"{len(unreadable)} of {len(order)} images cannot be read",
            where=where,
            found=shorten(f"{names[row]} ({reason})" for row, reason in unreadable.items()),
            wanted="whole JPEG, PNG, WebP, BMP or GIF images",
            fix="repair or remove them" + ("" if options.skip_unreadable else ", or leave them out: --skip-unreadable"),
        )
    called = images.names() if unreadable else ()
    if unreadable:
        notes.append(
            f"skipped, cannot be read: {len(unreadable)} images ({shorten(called[row] for row in unreadable)})"
        )
    sets: dict[str, ImageSet] = {}
    start = 0
    for split, chosen in rows.items():
        stop = start + len(chosen)
        good = np.asarray([row for row in range(start, stop) if row not in unreadable], np.int64)
        labels, groups = samples.part(order[good])
        sets[split] = ImageSet(
            split=split,
            classes=samples.classes,
            labels=labels,
            pixels=None if pixels is None else pixels[start:stop] if len(good) == stop - start else pixels[good],
            packed=images.subset(good) if pixels is None else None,
            groups=groups,
            image_size=size,
            resize=options.resize,
            interpolation=options.interpolation,
            skipped=tuple(f"{called[row]} ({unreadable[row]})" for row in range(start, stop) if row in unreadable),
        )
        start = stop
        check_left(where, sets[split])
    return sets, notes


def check_left(where: object, images: ImageSet) -> None:
    """Raise InputError where a split is empty, or train lacks a class, after unreadable images were left out."""
    gone = [name for name, count in zip(images.classes, images.counts(), strict=True) if count == 0]
    if len(images) == 0 or (images.split == "train" and gone):
        raise InputError(
            f"no readable images are left in {images.split}",
            where=where,
            found=f"none of {shorten(gone)}; skipped: {shorten(images.skipped)}",
            wanted="at least one readable image of each class in train, and one in every split",
        )
