"""Data sets of Hugging Face's `datasets`: from the hub (`hf:OWNER/NAME`), saved to disk, or as a folder of Parquet.

`hf:NAME:CONFIG` takes one of several configurations, `hf:NAME@REVISION` a commit, branch or tag; `hf:./folder` hands a
local folder to `datasets.load_dataset` (its imagefolder layout, with metadata files, too). Which columns hold image and
class is told by their types (`Image`, `ClassLabel`), else by their names. Encoded images are read from Arrow's files,
which are mapped; no code of a data set is executed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from truefit.data.columns import Found, find_columns
from truefit.data.encoded import read_encoded
from truefit.data.images import UnreadableImage
from truefit.data.imageset import ImageSet
from truefit.data.listing import SPLITS, Listing, Rows, Samples
from truefit.data.packed import Chosen, Packed
from truefit.data.packed import Rows as PackedRows
from truefit.data.sources import Options
from truefit.data.sources.folder import slug, visible_folders
from truefit.data.splits import Labels
from truefit.errors import InputError, shorten

PREFIX = "hf:"


def claims(spec: str) -> bool:
    """What begins with hf:, and a folder that `save_to_disk` wrote or that holds Parquet files."""
    if spec.startswith(PREFIX):
        return True
    folder = Path(spec).expanduser()
    return folder.is_dir() and (_saved(folder) or bool(_parquet(folder)))


def listing(spec: str, options: Options) -> Listing:
    """The samples of all its splits.

    Raises InputError: `datasets` is not installed; nothing there; no network; columns that can't be told; labels that
    are missing.
    """
    parts, notes = _loaded(spec, options)
    _, first = parts[0]
    columns = _columns(first, options, spec)
    local = not spec.startswith(PREFIX)
    place = str(Path(spec).expanduser().absolute()) if local else spec
    folder = Path(spec.removeprefix(PREFIX)).expanduser()
    if not local and folder.is_dir():  # a run may be evaluated from elsewhere
        place = f"{PREFIX}{folder.absolute()}"
    labels, classes = _labels([part for _, part in parts], columns, spec)
    splits = [split for split, part in parts for _ in range(len(part))]
    groups = None
    if columns.group is not None:
        groups = [str(group) for _, part in parts for group in part[columns.group]]
    name = Path(place).name if local else re.split(r"[@:]", spec.removeprefix(PREFIX))[0].rpartition("/")[2]
    return Listing(
        name=slug(name),
        spec=place,
        labels=labels,
        classes=classes,
        splits=splits if "" not in splits else None,
        groups=groups,
        read=_Read(ArrowImages([part for _, part in parts], columns.image), spec),
        notes=(f"columns: image {columns.image}; label {shorten(columns.label)}", *notes),
    )


class ArrowImages:
    """The encoded images of data sets of `datasets`, one after the other."""

    def __init__(self, parts: Sequence[Any], column: str) -> None:
        import datasets

        self.parts = [part.select_columns([column]).cast_column(column, datasets.Image(decode=False)) for part in parts]
        self.column = column
        self.ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int, /) -> bytes:
        at = bisect_right(self.ends, row)
        image = self.parts[at][row - (self.ends[at - 1] if at else 0)][self.column]
        if image is None:
            raise UnreadableImage("there is no image")
        if image["bytes"] is not None:
            content: bytes = image["bytes"]
            return content
        try:
            return Path(image["path"]).read_bytes()
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error

    def subset(self, rows: PackedRows) -> Packed:
        """The images at `rows`; nothing is read."""
        return Chosen(self, rows)

    def names(self) -> Sequence[str]:
        """Split and row of each."""
        return [f"{part.split or 'row'}[{row}]" for part in self.parts for row in range(len(part))]


class _Read:
    def __init__(self, images: ArrowImages, where: str) -> None:
        self.images, self.where = images, where

    def __call__(self, rows: Rows, samples: Samples, options: Options) -> tuple[dict[str, ImageSet], list[str]]:
        return read_encoded(self.where, self.images, rows, samples, options)


def _loaded(spec: str, options: Options) -> tuple[list[tuple[str, Any]], list[str]]:
    """(split, data set) for each split, "" where there is one without a name; and notes."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "data sets of Hugging Face need the package datasets",
            where=spec,
            found="not installed",
            fix="pip install 'truefit[hub]'",
        ) from None
    found: Any
    try:
        if spec.startswith(PREFIX):
            match = re.fullmatch(r"([^:@]+)(?::([^@]+))?(?:@(.+))?", spec.removeprefix(PREFIX))
            if match is None:
                raise InputError("this is no name on the hub", where=spec, wanted="hf:OWNER/NAME[:CONFIG][@REVISION]")
            name, config, revision = match.groups()
            cache = None if options.root is None else str(options.root)
            found = datasets.load_dataset(name, config, revision=revision, cache_dir=cache)
        else:
            folder = Path(spec).expanduser()
            if _saved(folder):
                found = datasets.load_from_disk(str(folder))
            else:
                cache = None if options.root is None else str(options.root)
                found = datasets.load_dataset(str(folder), cache_dir=cache)
    except InputError:
        raise
    except Exception as error:  # connections, missing names and broken files each raise their own
        raise InputError(
            "the data set can't be loaded",
            where=spec,
            found=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            wanted="a name on the hub and a connection to it, or a folder that datasets can read",
        ) from error
    if not isinstance(found, datasets.DatasetDict):
        return [("", found)], []
    if len(found) == 1:
        (only,) = found.values()
        return [("", only)], []
    parts: list[tuple[str, Any]] = []
    notes: list[str] = []
    for name, part in found.items():
        split = SPLITS.get(str(name).lower())
        if split is None:
            notes.append(f"ignored: {name}, {len(part):,} samples (not the name of a split)")
        elif split in dict(parts):
            raise InputError(f"two splits are {split}", where=spec, found=shorten(found))
        else:
            parts.append((split, part))
    if not parts:
        raise InputError("there is no train split", where=spec, found=shorten(found), wanted="train, validation, test")
    return _labelled(parts, options, spec, notes), notes


def _labelled(parts: list[tuple[str, Any]], options: Options, spec: str, notes: list[str]) -> list[tuple[str, Any]]:
    """Without splits that hold no label at all (-1, as hidden test sets have it)."""
    columns = _columns(parts[0][1], options, spec)
    kept = []
    for split, part in parts:
        if len(columns.label) == 1 and len(part) and set(part[columns.label[0]][:1000]) == {-1}:
            notes.append(f"ignored: {split}, its labels are hidden (-1)")
        else:
            kept.append((split, part))
    return kept


def _columns(part: Any, options: Options, spec: str) -> Found:
    """By type where exactly one column has it, else by name."""
    import datasets

    features, given = part.features, options.columns
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [name for name, kind in features.items() if isinstance(_inner(kind), datasets.ClassLabel)]
    if given.image is None and len(images) == 1:
        given = replace(given, image=images[0])
    if not given.label and len(classes) == 1:
        given = replace(given, label=(classes[0],))
    found = find_columns(given, list(features), spec)
    if not isinstance(features[found.image], datasets.Image):
        raise InputError(
            "this column holds no images", where=spec, found=f"{found.image}: {features[found.image]}", wanted="Image"
        )
    return found


def _inner(kind: Any) -> Any:
    """What a list holds, else the type itself."""
    return getattr(kind, "feature", kind)


def _labels(parts: Sequence[Any], columns: Found, spec: str) -> tuple[list[str] | Labels, tuple[str, ...] | None]:
    """Names of classes, or 0 and 1 for several labels; and all classes where the data set states them."""
    import datasets

    if len(columns.label) > 1:
        flags = np.stack([np.concatenate([np.asarray(part[name]) for part in parts]) for name in columns.label], axis=1)
        if not np.isin(flags, (0, 1)).all():
            raise InputError("several label columns hold something else than 0 and 1", where=spec)
        return np.ascontiguousarray(flags.astype(np.int64)), columns.label
    name = columns.label[0]
    kind = parts[0].features[name]
    values = [value for part in parts for value in part[name]]
    if not isinstance(_inner(kind), datasets.ClassLabel):
        return [str(value) for value in values], None
    names = tuple(map(str, _inner(kind).names))
    if _inner(kind) is not kind:
        flags = np.zeros((len(values), len(names)), np.int64)
        for row, labels in enumerate(values):
            flags[row, labels] = 1
        return flags, names
    missing = [row for row, value in enumerate(values) if value is None or not 0 <= value < len(names)]
    if missing:
        raise InputError(
            "samples have no label",
            where=spec,
            found=f"{len(missing)} of {len(values)}: rows {shorten(missing, 5)}",
            wanted=f"0 to {len(names) - 1}",
        )
    present = set(values)
    used = tuple(label for at, label in enumerate(names) if at in present)
    return [names[value] for value in values], used


def _saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _parquet(folder: Path) -> list[Path]:
    """Its Parquet files; none where there are folders of something else beside them, such as classes."""
    if set(visible_folders(folder)) - {"data"}:
        return []
    return [*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]
