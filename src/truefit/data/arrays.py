"""Arrays by their names, as files of NumPy and torch hold them, become samples with labels.

Names say what an array is: `x_train`, `train_images`, `images`, `y_test`, `labels`, `classes` ... in any order of the
words, as the archives of Keras and MedMNIST have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from truefit.data.images import Pixels, resize_pixels
from truefit.data.imageset import ImageSet, available_memory
from truefit.data.listing import SPLITS, Listing, Rows, Samples
from truefit.data.sources import Options
from truefit.data.sources.folder import slug
from truefit.data.splits import Labels
from truefit.errors import InputError, shorten

ROLES = {
    **dict.fromkeys(("x", "images", "image", "data", "pixels", "inputs"), "images"),
    **dict.fromkeys(("y", "labels", "label", "targets", "target"), "labels"),
    **dict.fromkeys(("classes", "names"), "classes"),
    **dict.fromkeys(("groups", "group"), "groups"),
}
"""What a word in an array's name says about it."""

Arrays = Mapping[str, npt.NDArray[Any]]


def listing_of_arrays(arrays: Arrays, path: Path) -> Listing:
    """The samples in a file of arrays.

    Images: uint8, or float in 0..1; (n, H, W), (n, H, W, C) or (n, C, H, W) with C = 1 or 3. Labels: whole numbers
    (n,) or (n, 1), text (n,), or 0 and 1 (n, K). Raises InputError for anything else, naming the array.
    """
    found: dict[tuple[str, str], tuple[str, npt.NDArray[Any]]] = {}
    unused = []
    for name, array in arrays.items():
        words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
        split = next((SPLITS[word] for word in words if word in SPLITS), "")
        role = next((ROLES[word] for word in words if word in ROLES), None)
        if role is None:
            unused.append(name)
            continue
        if (split, role) in found:
            raise InputError(
                "two arrays are the same thing", where=path, found=f"{found[split, role][0]} and {name}", wanted="one"
            )
        found[split, role] = (name, array)
    parts = [split for split in ("", "train", "validation", "test") if (split, "images") in found]
    if not parts or ("" in parts and len(parts) > 1):
        raise InputError(
            "the images can't be told by their names",
            where=path,
            found=shorten(arrays) or "no arrays",
            wanted="images and labels; or x_train, y_train, x_test, y_test; or train_images, train_labels ...",
        )
    images, labels, groups, splits = [], [], [], []
    notes = [f"arrays that are not used: {shorten(unused)}"] if unused else []
    for split in parts:
        name, array = found[split, "images"]
        if (split, "labels") not in found:
            raise InputError(f'there are no labels for "{name}"', where=path, found=shorten(arrays))
        pixels, note = _pixels(array, f"{path}, {name}")
        notes += [note] if note and note not in notes else []
        named, given = found[split, "labels"]
        images.append(pixels)
        labels.append(_labels(given, len(pixels), f"{path}, {named}"))
        splits += [split] * len(pixels)
        if (split, "groups") in found:
            called, given = found[split, "groups"]
            if given.size != len(pixels):
                raise InputError(
                    "groups do not fit the images",
                    where=f"{path}, {called}",
                    found=f"{given.size} groups for {len(pixels)} images",
                    wanted="one for each",
                )
            groups.append(given.reshape(-1).astype(str))
    classes = found["", "classes"][1].reshape(-1).astype(str).tolist() if ("", "classes") in found else None
    if classes is not None and len(set(classes)) < len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        raise InputError("two classes have the same name", where=path, found=shorten(twice), wanted="a name for each")
    if len({array.shape[1:] for array in (*images,)}) > 1 or len({array.shape[1:] for array in labels}) > 1:
        raise InputError("splits differ in the shape of their images or labels", where=path)
    return Listing(
        name=slug(path.stem),
        spec=str(path),
        labels=_named(np.concatenate(labels), classes, path),
        classes=_classes(labels[0], classes),
        splits=None if parts == [""] else splits,
        groups=np.concatenate(groups).tolist() if len(groups) == len(parts) else None,
        read=_Read(np.concatenate(images) if len(images) > 1 else images[0], path),
        notes=tuple(notes),
    )


def _pixels(array: npt.NDArray[Any], where: str) -> tuple[Pixels, str]:
    """As uint8 (n, H, W, 3), and what was done to it, if that has to be said."""
    note = ""
    if array.dtype.kind == "f":
        if array.size and not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError(
                "float images are outside of 0..1",
                where=where,
                found=f"{array.dtype}, {array.min()} to {array.max()}",
                wanted="uint8, or float from 0 to 1, before any normalisation",
            )
        array = np.round(array * 255).astype(np.uint8)
        note = "float images are rounded to 256 levels"
    if array.ndim == 3:
        array = array[..., np.newaxis]
    channels_last = array.ndim == 4 and array.shape[3] in (1, 3)
    if array.ndim == 4 and not channels_last and array.shape[1] in (1, 3):
        array, channels_last = array.transpose(0, 2, 3, 1), True
    if array.dtype != np.uint8 or not channels_last:
        raise InputError(
            "these are no images",
            where=where,
            found=f"{array.dtype} {array.shape}",
            wanted="uint8, or float from 0 to 1: (n, H, W), (n, H, W, C) or (n, C, H, W), with 1 or 3 channels",
        )
    return np.ascontiguousarray(np.repeat(array, 3, axis=3) if array.shape[3] == 1 else array), note


def _labels(array: npt.NDArray[Any], n: int, where: str) -> npt.NDArray[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool((array == np.round(array)).all()))
    several = array.ndim == 2 and whole and set(np.unique(array).tolist()) <= {0, 1}
    if array.ndim == 0 or len(array) != n or not (several or (array.ndim == 1 and (whole or array.dtype.kind == "U"))):
        raise InputError(
            "labels do not fit the images",
            where=where,
            found=f"{array.dtype} {array.shape} for {n} images",
            wanted=f"whole numbers or text ({n},), or 0 and 1 ({n}, number of labels)",
        )
    return array if array.dtype.kind == "U" else array.astype(np.int64)


def _named(labels: npt.NDArray[Any], classes: list[str] | None, path: Path) -> list[str] | Labels:
    """The class of each sample by its name; an array where an image has several."""
    if labels.ndim == 2:
        if classes is not None and len(classes) != labels.shape[1]:
            raise InputError(
                "names of classes do not fit the labels",
                where=path,
                found=f"{len(classes)} names",
                wanted=labels.shape[1],
            )
        return labels
    if classes is None or labels.dtype.kind == "U":
        return [str(label) for label in labels.tolist()]
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise InputError(
            "labels are outside of the classes",
            where=path,
            found=f"{labels.min()} to {labels.max()}",
            wanted=f"0 to {len(classes) - 1}, for {len(classes)} names",
        )
    return [classes[label] for label in labels.tolist()]


def _classes(labels: npt.NDArray[Any], classes: list[str] | None) -> tuple[str, ...] | None:
    if classes is not None:
        return tuple(classes)
    return tuple(map(str, range(labels.shape[1]))) if labels.ndim == 2 else None


class _Read:
    """Hands out the images, brought to the size that is wanted."""

    def __init__(self, pixels: Pixels, path: Path) -> None:
        self.pixels, self.path = pixels, path

    def __call__(self, rows: Rows, samples: Samples, options: Options) -> tuple[dict[str, ImageSet], list[str]]:
        height, width = self.pixels.shape[1:3]
        size = options.image_size or (height if height == width else options.default_image_size)
        needed, free = sum(map(len, rows.values())) * size * size * 3, available_memory()
        if needed > free:
            raise InputError(
                "the images do not fit into memory at this size",
                where=f"{self.path}, {size} x {size} pixels",
                found=f"{free / 2**30:.1f} GiB free",
                wanted=f"{needed / 2**30:.1f} GiB",
                fix="choose a smaller --image-size",
            )
        sets = {}
        for split, chosen in rows.items():
            labels, groups = samples.part(chosen)
            pixels = resize_pixels(self.pixels[chosen], size, options.resize, options.interpolation)
            sets[split] = ImageSet(
                split=split,
                classes=samples.classes,
                labels=labels,
                pixels=np.ascontiguousarray(pixels),
                groups=groups,
                image_size=size,
                resize=options.resize,
                interpolation=options.interpolation,
            )
        return sets, []
