"""Which data is meant? From a name or a path to splits, to a set for evaluation, or to a list of images."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from truefit.config import from_plain, to_plain
from truefit.data.columns import Columns
from truefit.data.folds import fold_of
from truefit.data.grouping import by_groups
from truefit.data.images import Interpolation, Progress, Resize
from truefit.data.imageset import Data, ImageSet
from truefit.data.listing import arrange, chosen_split
from truefit.data.overlap import shared
from truefit.data.sources import Options, folder, listing_of, sources
from truefit.errors import InputError, nearest, shorten


def load_data(
    spec: str | Path,
    *,
    image_size: int | None = None,
    resize: Resize = "crop",
    interpolation: Interpolation = "bicubic",
    val_fraction: float | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
    root: Path | None = None,
    default_image_size: int = 32,
    memory_share: float = 0.25,
    on_progress: Progress | None = None,
    fold: int | None = None,
    folds: int | None = None,
    group_pattern: str | None = None,
    columns: Columns | dict[str, Any] | None = None,
) -> Data:
    """The splits of a data set, every image decoded at least once, in this run or in one that filled the cache.

    spec:            a known name (`digits`, `cifar10` ...), a file or address that a source claims (a table:
                     `labels.csv`), else a folder; a folder called like a known name is `./digits`
    image_size:      height and width in pixels. None: the images' own, where all have the same square one, up
                     to 512; otherwise `default_image_size`
    resize:          `crop` (the middle square) or `stretch`; interpolation: how pixels are computed on the way
    val_fraction:    0 <= share < 1 of train (of all images, for a folder of class folders) held out for
                     validation where none is given; None: 0.1. 0: no validation, even if it has a folder
    split_seed:      draws the splits, and nothing else does
    skip_unreadable: leave out images that cannot be read (see `Data.skipped`) instead of refusing
    root:            cache folder for downloads
    memory_share:    hold the pixels in memory if they need at most this share of what is available; those of a
                     folder that need more are decoded into the cache on disk (see `cache`), or, where that
                     can't be written, read from their files in every epoch
    on_progress:     called with (files decoded, files in all)
    fold, folds:     fold number `fold` (from 1) of `folds`, see `folds.fold_of`
    group_pattern:   images whose file names have the same match of this regular expression (of its first group, where
                     it has one) stay in one split and in one fold
    columns:         what the columns of a table are called; those with usual names are found by themselves

    Raises `InputError`: no such name or folder; an empty folder; one class; a class without images; images
    that cannot be read, all of them listed; splits with different classes; val_fraction out of range; a class
    too small to be split; a download that fails.
    """
    options = Options(
        image_size=image_size,
        resize=resize,
        interpolation=interpolation,
        val_fraction=val_fraction,
        split_seed=split_seed,
        skip_unreadable=skip_unreadable,
        root=root,
        default_image_size=default_image_size,
        memory_share=memory_share,
        on_progress=on_progress,
        columns=from_plain(Columns, columns, where="columns") if isinstance(columns, dict) else columns or Columns(),
    )
    again: dict[str, Any] = {
        "image_size": image_size,
        "resize": resize,
        "interpolation": interpolation,
        "val_fraction": val_fraction,
        "split_seed": split_seed,
        "skip_unreadable": skip_unreadable,
        "default_image_size": default_image_size,
    }
    if options.columns.given:
        again["columns"] = to_plain(options.columns)
    with _allowed():
        return _loaded(spec, options, again, fold, folds, group_pattern)


def _loaded(
    spec: str | Path,
    options: Options,
    again: dict[str, Any],
    fold: int | None,
    folds: int | None,
    group_pattern: str | None,
) -> Data:
    known = sources()
    if isinstance(spec, str) and spec in known:
        data = known[spec](spec, options)
        if Path(spec).is_dir():
            data = replace(data, notes=(*data.notes, f"{spec} is the known data set; ./{spec} is the folder"))
        data = replace(_without_copies(data), options=again)
        return _cut(data, options, fold, folds, group_pattern)
    listing = listing_of(str(spec), options)
    if listing is not None:
        data = replace(_without_copies(arrange(listing, options)), options=again)
        return _cut(data, options, fold, folds, group_pattern)
    if options.columns.given:
        raise InputError("only a table has columns", where=spec, found="names of columns", wanted="a .csv file")
    where = _existing_folder(spec, known)
    # Absolute: a run may be evaluated from elsewhere.
    data = replace(_without_copies(folder.load(where, options)), spec=str(where.absolute()), options=again)
    return _cut(data, options, fold, folds, group_pattern)


def load_images(
    path: str | Path,
    classes: Sequence[str],
    *,
    image_size: int,
    resize: Resize = "crop",
    interpolation: Interpolation = "bicubic",
    split: str | None = None,
    skip_unreadable: bool = False,
    memory_share: float = 0.25,
    on_progress: Progress | None = None,
    columns: Columns | dict[str, Any] | None = None,
) -> ImageSet:
    """Images with labels in the order of `classes` (a run's), to evaluate on.

    `path` is a folder of class folders (the set is then called `test`), or one with train/, val/, test/: of
    these `split` is taken (`train`, `validation`, `test`; None: test, else validation, never train). A class
    of the run may be absent. Or anything else that `load_data` takes by a path; where nothing says which splits
    there are, all of it is `test`. The other arguments are those of `load_data`; `ImageSet.skipped` lists what was
    left out.

    Raises `InputError` for classes that the run does not know, and as `load_data` does.
    """
    options = Options(
        image_size=image_size,
        resize=resize,
        interpolation=interpolation,
        skip_unreadable=skip_unreadable,
        memory_share=memory_share,
        on_progress=on_progress,
        columns=from_plain(Columns, columns, where="columns") if isinstance(columns, dict) else columns or Columns(),
    )
    with _allowed():
        return _chosen(path, tuple(classes), split, options)


def _chosen(path: str | Path, classes: tuple[str, ...], split: str | None, options: Options) -> ImageSet:
    listing = listing_of(str(path), options)
    if listing is not None:
        return chosen_split(listing, classes, split, options)
    where = _existing_folder(path, ())
    layout = folder.find_splits(where)
    # A class of the run may be called `test`: then the folder of that name is a class folder.
    if layout and not set(folder.visible_folders(where)) <= set(classes):
        if split is None:
            split = next((name for name in ("test", "validation") if name in layout), "test")
        if split not in layout:
            raise InputError(
                f"there is no {split} split",
                where=where,
                found=", ".join(layout),
                wanted=f"a folder for {split}",
            )
        where = layout[split]
    elif split not in (None, "test"):
        raise InputError(
            f"there is no {split} split", where=where, found="class folders", wanted=f"a folder for {split}"
        )
    found = folder.visible_folders(where)
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise InputError(
            "the folder has classes that the run does not know",
            where=where,
            found=shorten(unknown),
            wanted=f"among {shorten(classes)}",
        )
    files = folder.list_classes(where, classes)
    if not files.paths:
        raise InputError(
            "the folder has no class folders with images",
            where=where,
            wanted=f"folders among {shorten(classes)}",
        )
    sets, _ = folder.read_splits(where, {split or "test": files}, classes, options)
    return sets[split or "test"]


def list_images(path: str | Path) -> list[Path]:
    """A file itself, whatever its suffix; of a folder all images, in depth, in natural order (2 before 10).

    Hidden files and folders are left out. Raises `InputError` if there is nothing there.
    """
    where = Path(path).expanduser()
    with _allowed():
        if not where.exists():
            raise InputError("there is no such file or folder", where=where.absolute(), found="nothing")
        if not where.is_dir():
            return [where]
        images, others = folder.walk_images(where)
    if not images:
        raise InputError(
            "the folder has no images",
            where=where,
            found=f"{len(others)} other files",
            wanted="JPEG, PNG, WebP, BMP or GIF",
        )
    return sorted(map(Path, images), key=_natural)


@contextmanager
def _allowed() -> Iterator[None]:
    """Folders that may not be looked into are told of like all that is wrong with data."""
    try:
        yield
    except PermissionError as error:
        raise InputError(
            "there is no right to read this", where=error.filename, found=error.strerror, fix="chmod, or another user"
        ) from error


def _cut(data: Data, options: Options, fold: int | None, folds: int | None, group_pattern: str | None) -> Data:
    """A fold of the data where one is asked for, else its splits, by groups where a pattern is given."""
    if fold is not None and folds is not None:
        return fold_of(data, fold, folds, group_pattern)
    if group_pattern is None:
        return data
    grouped = by_groups(data, group_pattern, options.fraction, options.split_seed)
    return replace(_without_copies(grouped), options={**data.options, "group_pattern": group_pattern})


def _without_copies(data: Data) -> Data:
    """A validation split that was drawn here gives up exact copies of test images; one that was given is the
    user's, and is refused by the training."""
    if data.validation is None or data.test is None or "validation" not in data.drawn:
        return data
    copies = shared(data.validation, data.test)
    if not len(copies) or len(copies) == len(data.validation):
        return data
    kept = np.setdiff1d(np.arange(len(data.validation)), copies)
    note = f"validation: {len(copies)} images left out, exact copies of which are in test"
    return replace(data, validation=data.validation.subset(kept), notes=(*data.notes, note))


def _natural(path: Path) -> list[list[tuple[bool, int, str]]]:
    """Digits compare as numbers, everything else as text without case; folder by folder."""
    return [
        [(piece.isdecimal(), int(piece) if piece.isdecimal() else 0, piece.lower()) for piece in pieces]
        for pieces in (re.split(r"(\d+)", part) for part in path.parts)
    ]


def _existing_folder(spec: str | Path, known: Collection[str]) -> Path:
    path = Path(spec).expanduser()
    if not path.exists():
        named = isinstance(spec, str) and known and Path(spec).name == spec
        raise InputError(
            f'unknown data set "{spec}"' if named else "the folder does not exist",
            where=path.absolute(),
            found="nothing there",
            wanted="a folder of images, or a known name" if known else "a folder of images",
            fix=nearest(str(spec), known) if known else None,
        )
    if not path.is_dir():
        raise InputError(
            "the data is a file, not a folder",
            where=path,
            found=f"a file of {path.stat().st_size} bytes",
            wanted="a folder of images, or a table (.csv, .parquet); an archive has to be unpacked first",
        )
    return path
