"""Images in folders: which files belong to which class and split?

Two layouts are known: `train/` with `val/` and/or `test/`, each with a folder a class; or the class folders
alone. Class folders are searched in depth. Hidden ones (.git, .ipynb_checkpoints, __MACOSX) are passed over.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypedDict

import numpy as np

from truefit.data.cache import CacheUnusable, cached_images
from truefit.data.cachefile import CachedImages
from truefit.data.images import (
    Interpolation,
    MixedSizes,
    Pixels,
    Progress,
    Resize,
    decode_files,
    first_size,
    is_image_name,
)
from truefit.data.imageset import Data, ImageSet, available_memory
from truefit.data.sources import Options, drawn_note
from truefit.data.splits import Labels, hold_out
from truefit.errors import InputError, shorten

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""The split that a folder of this name holds."""

TEST_FRACTION = 0.1
_OWN_SIZE_UP_TO = 512
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


class _How(TypedDict):
    """How files are decoded, into memory and into the cache alike."""

    size: int
    resize: Resize
    interpolation: Interpolation
    own_size: bool
    on_progress: Progress | None


@dataclass(frozen=True, kw_only=True)
class Files:
    """The images of one split before they are read: n paths, labels and groups as in an ImageSet, and what was
    passed over."""

    paths: tuple[str, ...]
    labels: Labels
    groups: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()

    def subset(self, indices: Labels) -> Files:
        """The images at `indices`; `ignored` stays behind, to be counted once."""
        return Files(paths=tuple(self.paths[row] for row in indices), labels=self.labels[indices])


def load(folder: Path, options: Options) -> Data:
    """The data set in `folder`, every file decoded once. `spec` is left as the folder's path.

    Raises `InputError` for each way in which a folder is not a data set, see `lookup.load_data`.
    """
    layout = find_splits(folder)
    notes: list[str] = []
    if "train" not in layout and layout and set(visible_folders(folder)) == {p.name for p in layout.values()}:
        raise InputError(
            "there is no train folder",
            where=folder,
            found=", ".join(sorted(part.name for part in layout.values())),
            wanted="train/ beside val/ or test/, or the class folders themselves",
        )
    if "train" in layout:
        beside = [name for name in visible_folders(folder) if folder / name not in layout.values()]
        if beside:
            notes.append(f"ignored beside {layout['train'].name}/: {shorten(beside)} (not the name of a split)")
    if "train" in layout and len(layout) > 1:
        classes, parts = _given_splits(layout, options, notes)
    else:
        classes, parts = _drawn_splits(layout.get("train", folder), options)
    ignored = [file for part in parts.values() for file in part.ignored]
    if ignored:
        notes.append(f"ignored, not images in a class folder: {len(ignored)} files ({shorten(ignored)})")
    sets, resized = read_splits(folder, parts, classes, options)
    given = () if "train" not in layout or len(layout) == 1 else tuple(layout)
    notes += [
        drawn_note(image_set, "train" if given else folder.resolve().name, options.split_seed)
        for split, image_set in sets.items()
        if split != "train" and split not in given
    ]
    skipped = sum(len(image_set.skipped) for image_set in sets.values())
    if skipped:
        notes.append(skipped_note([file for image_set in sets.values() for file in image_set.skipped]))
    return Data(
        name=slug(folder.resolve().name),
        spec=str(folder),
        train=sets["train"],
        validation=sets.get("validation"),
        test=sets.get("test"),
        mirror=True,
        notes=(*notes, *resized),
        drawn=tuple(split for split in sets if split != "train" and split not in given),
    )


def skipped_note(skipped: Sequence[str]) -> str:
    """The note that files were left out."""
    return f"skipped, cannot be read: {len(skipped)} images ({shorten(skipped)})"


def find_splits(folder: Path) -> dict[str, Path]:
    """The folders of the splits, by the split's name: train, validation, test, as far as they are there."""
    found: dict[str, Path] = {}
    for name in visible_folders(folder):
        split = SPLIT_FOLDERS.get(name.lower())
        if split in found:
            raise InputError(
                f"two folders for the {split} split",
                where=folder,
                found=f"{found[split].name} and {name}",
                wanted="one of them",
            )
        if split is not None:
            found[split] = folder / name
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def visible_folders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted by code point, without hidden ones and links that lead back up."""
    above = _above(folder)
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir()
        and not _hidden(entry.name)
        and not (entry.is_symlink() and os.path.realpath(entry.path) in above)
    )


def walk_images(folder: Path) -> tuple[list[str], list[str]]:
    """All visible files under `folder`, in depth, sorted by path: (images, others); links are followed."""
    images: list[str] = []
    others: list[str] = []
    for here, names in _walk(folder):
        for name in names:
            (images if is_image_name(name) else others).append(os.path.join(here, name))  # noqa: PTH118
    return sorted(images), sorted(others)


def list_classes(folder: Path, classes: Sequence[str]) -> Files:
    """The images of each of `classes`, folders in `folder`; a class without a folder has none."""
    paths: list[str] = []
    labels: list[int] = []
    ignored = [
        entry.path
        for entry in os.scandir(folder)
        if not entry.is_dir() and not _hidden(entry.name)  # also an image: it has no class here
    ]
    empty = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue
        images, others = walk_images(folder.absolute() / name)
        paths += images
        labels += [label] * len(images)
        ignored += others
        if not images:
            empty.append(name)
    if empty:
        raise InputError(
            "a class has no images" if len(empty) == 1 else "classes have no images",
            where=folder,
            found=f"no image in {shorten(empty)}",
            wanted="at least one image (JPEG, PNG, WebP, BMP or GIF) in every class folder",
            fix="add images, or remove the folder",
        )
    relative = sorted(os.path.relpath(file, folder) for file in ignored)
    return Files(paths=tuple(paths), labels=np.asarray(labels, np.int64), ignored=tuple(relative))


def read_splits(
    folder: Path, parts: Mapping[str, Files], classes: tuple[str, ...], options: Options
) -> tuple[dict[str, ImageSet], list[str]]:
    """Decode the files of all splits into one array; into the cache on disk where that takes too much memory.

    Returns the sets, and notes: images changed size without being asked to, or are not held in memory.
    Raises `InputError` listing the unreadable files, unless `options.skip_unreadable`.
    """
    paths = [path for files in parts.values() for path in files.paths]
    size, own = options.image_size, False
    notes: list[str] = []
    if size is None:
        width, height = first_size(paths) or (0, 0)
        own = 0 < width == height <= _OWN_SIZE_UP_TO
        size = width if own else options.default_image_size

    def decode(size: int, own: bool) -> tuple[Pixels | None, CachedImages | None, dict[int, str]]:
        how: _How = {
            "size": size,
            "resize": options.resize,
            "interpolation": options.interpolation,
            "own_size": own,
            "on_progress": options.on_progress,
        }
        fits = len(paths) * size * size * 3 <= options.memory_share * available_memory()
        if not fits:
            try:
                cached, unreadable = cached_images(folder, paths, **how)
            except CacheUnusable as reason:
                notes.append(f"images do not fit in memory and are read from their files in every epoch: {reason}")
            else:
                notes.append("images do not fit in memory: decoded once, and kept on disk (see truefit cache ls)")
                return None, cached, unreadable
        pixels, unreadable = decode_files(paths, keep=fits, **how)
        return pixels, None, unreadable

    try:
        pixels, cached, unreadable = decode(size, own)
    except MixedSizes:
        size, own = options.default_image_size, False
        notes.clear()
        pixels, cached, unreadable = decode(size, own)
    if options.image_size is None and not own:
        notes.append(
            f"images do not have one square size up to {_OWN_SIZE_UP_TO}: brought to {size} x {size} pixels "
            f"({options.resize}); --image-size chooses another"
        )
    named = {row: f"{os.path.relpath(paths[row], folder)} ({reason})" for row, reason in unreadable.items()}
    if len(named) == len(paths) or (named and not options.skip_unreadable):
        _refuse_unreadable(folder, list(named.values()), len(paths), options)
    sets: dict[str, ImageSet] = {}
    start = 0
    for split, files in parts.items():
        stop = start + len(files.paths)
        good = np.asarray([row for row in range(start, stop) if row not in unreadable], np.int64)
        whole = len(good) == stop - start
        sets[split] = ImageSet(
            split=split,
            classes=classes,
            labels=files.labels[good - start],
            pixels=None if pixels is None else pixels[start:stop] if whole else pixels[good],
            cached=None if cached is None else cached.subset(good),
            paths=tuple(paths[row] for row in good),
            groups=None if files.groups is None else tuple(files.groups[row - start] for row in good),
            image_size=size,
            resize=options.resize,
            interpolation=options.interpolation,
            skipped=tuple(named[row] for row in range(start, stop) if row in named),
        )
        start = stop
        _check_left(folder, sets[split])
    return sets, notes


def slug(name: str) -> str:
    """`name` in letters, digits, dot, dash and underscore, safe as a part of a file name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.") or "images"


def _given_splits(
    layout: Mapping[str, Path], options: Options, notes: list[str]
) -> tuple[tuple[str, ...], dict[str, Files]]:
    """The splits as they lie, and validation drawn from train where it is not given."""
    classes = _classes_of(layout["train"])
    parts = {"train": list_classes(layout["train"], classes)}
    for split in ("validation", "test"):
        if split in layout:
            _check_same_classes(layout[split], classes)
            parts[split] = list_classes(layout[split], classes)
    if "validation" not in layout and options.fraction > 0:
        train = parts.pop("train")
        kept, held = _draw(layout["train"], train.labels, options.fraction, classes, "validation", options)
        drawn = {
            "train": replace(train.subset(kept), ignored=train.ignored),
            "validation": train.subset(held),
        }
        parts = {**drawn, **parts}
    elif "validation" in layout and options.val_fraction == 0:
        del parts["validation"]
        notes.append(f"val_fraction is 0: {layout['validation'].name}/ is not used")
    elif "validation" in layout and options.val_fraction is not None:
        notes.append(f"val_fraction is not used: {layout['validation'].name}/ is the validation split")
    return classes, parts


def _drawn_splits(folder: Path, options: Options) -> tuple[tuple[str, ...], dict[str, Files]]:
    """Test and validation drawn from one folder of classes."""
    classes = _classes_of(folder)
    everything = list_classes(folder, classes)
    n, fraction = len(everything.labels), options.fraction
    if fraction + TEST_FRACTION >= 1:
        raise InputError(
            "val_fraction leaves nothing to train on",
            where=folder,
            found=f"{fraction} for validation and {TEST_FRACTION} for test",
            wanted=f"val_fraction below {1 - TEST_FRACTION}",
        )
    keep = 2 if fraction > 0 else 1
    rest, test = _draw(folder, everything.labels, TEST_FRACTION, classes, "test", options, keep=keep)
    parts = {"train": everything.subset(rest)}
    if fraction > 0:
        share = fraction * n / len(rest)
        kept, held = _draw(folder, everything.labels[rest], share, classes, "validation", options)
        parts = {"train": everything.subset(rest[kept]), "validation": everything.subset(rest[held])}
    parts["test"] = everything.subset(test)
    parts["train"] = replace(parts["train"], ignored=everything.ignored)
    return classes, parts


def _draw(
    folder: Path,
    labels: Labels,
    fraction: float,
    classes: tuple[str, ...],
    split: str,
    options: Options,
    keep: int = 1,
) -> tuple[Labels, Labels]:
    held = round(fraction * len(labels))
    return hold_out(labels, held, classes=classes, split=split, split_seed=options.split_seed, keep=keep, where=folder)


def _classes_of(folder: Path) -> tuple[str, ...]:
    """The class folders of a train folder; an error if there are not two."""
    names = visible_folders(folder)
    odd = [name for name in names if name != name.encode("utf-8", "replace").decode()]
    if odd:
        raise InputError(
            "the name of a class is not text in UTF-8",
            where=folder,
            found=", ".join(repr(os.fsencode(name)) for name in odd),
            fix="rename the folder",
        )
    if len(names) > 1:
        return tuple(names)
    if len(names) == 1:
        raise InputError(
            "there is only one class",
            where=folder,
            found=names[0],
            wanted="at least two folders, each with the images of one class",
            fix="point to the folder that holds the class folders" if not _has_images(folder) else None,
        )
    content = [entry.name for entry in os.scandir(folder) if not _hidden(entry.name)]
    raise InputError(
        "the folder has no class folders" if content else "the folder is empty",
        where=folder,
        found=f"{len(content)} files ({shorten(sorted(content), 5)})" if content else "nothing",
        wanted="a folder for each class, with its images in it; or train/ with val/ and/or test/",
    )


def _has_images(folder: Path) -> bool:
    return any(is_image_name(entry.name) for entry in os.scandir(folder))


def _check_same_classes(folder: Path, classes: tuple[str, ...]) -> None:
    names = visible_folders(folder)
    missing = [name for name in classes if name not in names]
    extra = [name for name in names if name not in classes]
    if missing or extra:
        differences = [f"without {shorten(missing)}"] * bool(missing) + [f"with {shorten(extra)}"] * bool(extra)
        raise InputError(
            f"{folder.name}/ has other classes than train/",
            where=folder,
            found=" and ".join(differences),
            wanted=f"the classes of train/: {shorten(classes)}",
        )


def _check_left(folder: Path, image_set: ImageSet) -> None:
    """After skipping, train still needs every class, and no split may be empty."""
    gone = [name for name, count in zip(image_set.classes, image_set.counts(), strict=True) if count == 0]
    if (image_set.split == "train" and gone) or len(image_set) == 0:
        raise InputError(
            f"no readable images are left in {image_set.split}",
            where=folder,
            found=f"none of {shorten(gone)}; skipped: {shorten(image_set.skipped)}",
            wanted="at least one readable image of each class in train, and one in every split",
        )


def _refuse_unreadable(folder: Path, unreadable: list[str], total: int, options: Options) -> NoReturn:
    raise InputError(
        f"{len(unreadable)} of {total} images cannot be read",
        where=folder,
        found=shorten(unreadable),
        wanted="whole JPEG, PNG, WebP, BMP or GIF files",
        fix="repair or remove them" + ("" if options.skip_unreadable else ", or leave them out with --skip-unreadable"),
    )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX" or name.lower() in _SYSTEM_FILES


def _above(folder: Path) -> set[str]:
    """The folder and its parents: a link there would bring the images of other classes in as well."""
    start = os.path.realpath(folder)
    return {start, *map(str, Path(start).parents)}


def _pipes(folder: str) -> set[str]:
    """What is neither a file, a folder nor a link: it would be waited for, or without end."""
    with os.scandir(folder) as entries:
        return {one.name for one in entries if not (one.is_file() or one.is_dir() or one.is_symlink())}


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each visible folder under `folder` with the names of its visible files."""

    def refuse(error: OSError) -> NoReturn:
        raise InputError("a folder cannot be read", where=error.filename, found=error.strerror) from error

    seen = _above(folder)
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        inside = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(here, name))  # noqa: PTH118
            if not _hidden(name) and real not in seen:
                seen.add(real)
                inside.append(name)
        folders[:] = inside
        pipes = _pipes(here)
        yield here, [name for name in names if not _hidden(name) and name not in pipes]
