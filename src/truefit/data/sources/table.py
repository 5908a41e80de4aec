"""Tables: `labels.csv`, `labels.tsv` or `labels.parquet`, a row an image, with its path (or its bytes) and its class.

Paths are relative to the table's folder. Several label columns with 0 and 1 give an image several labels. A `split`
and a `group` column are used where they are there.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from truefit.data.columns import Found, find_columns
from truefit.data.encoded import read_encoded
from truefit.data.imageset import ImageSet
from truefit.data.listing import Listing, Rows, Samples, find_split
from truefit.data.packed import InMemory
from truefit.data.sources import Options
from truefit.data.sources.folder import Files, read_splits, slug
from truefit.data.splits import Labels
from truefit.errors import InputError, shorten

SUFFIXES = (".csv", ".tsv", ".parquet")
_FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}


def claims(spec: str) -> bool:
    """By the suffix; a folder that is called so is a folder."""
    path = Path(spec).expanduser()
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def listing(spec: str, options: Options) -> Listing:
    """The rows of the table.

    Raises InputError, each with the lines at fault: no such file or column, rows of another length, empty cells, files
    that are missing or named twice, splits that are none, labels other than 0 and 1 where there are several columns.
    """
    path = Path(spec).expanduser().absolute()
    if not path.is_file():
        raise InputError("there is no such table", where=path, found="nothing")
    table = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    return listing_of_table(table, Table(path), options)


class Table:
    """Where a table lies, and what its rows are called in errors."""

    def __init__(self, path: Path, first: int = 0) -> None:
        self.path, self.first = path, first


def listing_of_table(table: dict[str, Sequence[Any]], place: Table, options: Options) -> Listing:
    """The listing of columns by their names."""
    found = find_columns(options.columns, list(table), place.path)
    cells = {name: _cells(table, name, place) for name in (*found.label, found.split, found.group) if name is not None}
    unused = [name for name in table if name not in found.names]
    notes = [f"columns: image {found.image}; label {shorten(found.label)}" + _further(found)]
    if unused:
        notes.append(f"columns that are not used: {shorten(unused)}")
    images = table[found.image]
    whole = slug(place.path.stem)
    return Listing(
        name=whole,
        spec=str(place.path),
        labels=_flags(cells, found.label, place) if len(found.label) > 1 else cells[found.label[0]],
        classes=found.label if len(found.label) > 1 else None,
        splits=None if found.split is None else _splits(cells[found.split], found.split, place),
        groups=None if found.group is None else cells[found.group],
        read=_Bytes(images, place) if _holds_bytes(images) else _Paths(_files(images, found.image, place), place),
        notes=tuple(notes),
    )


def _further(found: Found) -> str:
    named = {"split": found.split, "group": found.group}
    return "".join(f"; {role} {name}" for role, name in named.items() if name is not None)


def _text(path: Path) -> dict[str, Sequence[Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            mark = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in first and "," not in first else ","
            rows = list(csv.reader(file, delimiter=mark, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("the table can't be read", where=path, found=error, wanted="CSV in UTF-8") from error
    if not rows:
        raise InputError("the table is empty", where=path, found="no line", wanted="a line with names of columns")
    header, rows = rows[0], rows[1:]
    lines = [(number, row) for number, row in enumerate(rows, start=2) if row]
    uneven = [f"line {number} ({len(row)})" for number, row in lines if len(row) != len(header)]
    if uneven:
        raise InputError(
            "rows do not have a cell for each column",
            where=path,
            found=shorten(uneven, 5),
            wanted=f"{len(header)} cells: {', '.join(header)}",
        )
    # A list of pairs would lose columns of equal names, which find_columns has to refuse.
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise InputError("columns have the same name", where=path, found=", ".join(map(repr, twice)))
    return {name: [row[at] for _, row in lines] for at, name in enumerate(header)}


def _parquet(path: Path) -> dict[str, Sequence[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "tables in Parquet need pyarrow", where=path, found="not installed", fix="pip install 'truefit[parquet]'"
        ) from None
    try:
        table = pyarrow.parquet.read_table(path)
        return {name: table.column(name).to_pylist() for name in table.column_names}
    except (OSError, pyarrow.ArrowException, KeyError) as error:
        raise InputError("the table can't be read", where=path, found=error, wanted="a Parquet file") from error


def _cells(table: dict[str, Sequence[Any]], name: str, place: Table) -> list[str]:
    """A column as text; whole numbers that are stored as floats (2.0) stay what they look like."""
    cells = ["" if cell is None else str(cell).strip() for cell in table[name]]
    empty = [_line(row) for row, cell in enumerate(cells) if cell == ""]
    if empty:
        raise InputError(f'cells of the column "{name}" are empty', where=place.path, found=shorten(empty, 5))
    return cells


def _line(row: int) -> str:
    return f"row {row + 1}"


def _flags(cells: dict[str, list[str]], names: Sequence[str], place: Table) -> Labels:
    wrong = [
        f"{cell!r} in {name}, {_line(row)}"
        for name in names
        for row, cell in enumerate(cells[name])
        if cell.lower() not in _FLAGS
    ]
    if wrong:
        raise InputError(
            "several label columns hold something else than 0 and 1",
            where=place.path,
            found=f"{len(wrong)} cells: {shorten(wrong, 5)}",
            wanted="0 or 1 (or false, true) in each label column; or one column with the name of the class",
        )
    flags = [[_FLAGS[cell.lower()] for cell in cells[name]] for name in names]
    return np.ascontiguousarray(np.asarray(flags, np.int64).T)


def _splits(cells: Sequence[str], column: str, place: Table) -> list[str]:
    known = {name: find_split(name, f'{place.path}, column "{column}"') for name in sorted(set(cells))}
    return [known[cell] for cell in cells]


def _files(images: Sequence[Any], column: str, place: Table) -> tuple[str, ...]:
    folder = place.path.parent
    named = [str(image).strip() if image is not None else "" for image in images]
    paths = tuple(os.path.normpath(folder / name) for name in named)
    missing = [
        f"{name or '(empty)'} ({_line(row)})" for row, name in enumerate(named) if not Path(paths[row]).is_file()
    ]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(paths)} files of the table are missing",
            where=place.path,
            found=shorten(missing),
            wanted=f'paths relative to {folder} in the column "{column}"',
        )
    first: dict[str, int] = {}
    twice = [
        f"{named[row]} ({_line(first[path])} and {row + 1})"
        for row, path in enumerate(paths)
        if first.setdefault(path, row) != row
    ]
    if twice:
        raise InputError("files are named twice in the table", where=place.path, found=shorten(twice, 5))
    return paths


class _Paths:
    """Reads the images of a table from their files."""

    def __init__(self, paths: tuple[str, ...], place: Table) -> None:
        self.paths, self.place = paths, place

    def __call__(self, rows: Rows, samples: Samples, options: Options) -> tuple[dict[str, ImageSet], list[str]]:
        parts = {}
        for split, chosen in rows.items():
            labels, groups = samples.part(chosen)
            parts[split] = Files(paths=tuple(self.paths[row] for row in chosen), labels=labels, groups=groups)
        return read_splits(self.place.path.parent, parts, samples.classes, options)


def _holds_bytes(images: Sequence[Any]) -> bool:
    return len(images) > 0 and isinstance(images[0], bytes | dict)


class _Bytes:
    """Reads the images of a table that holds them itself: bytes, or `{"bytes": ..., "path": ...}`."""

    def __init__(self, images: Sequence[Any], place: Table) -> None:
        self.images, self.place = images, place

    def __call__(self, rows: Rows, samples: Samples, options: Options) -> tuple[dict[str, ImageSet], list[str]]:
        contents = [(image.get("bytes") if isinstance(image, dict) else image) or b"" for image in self.images]
        packed = InMemory(contents, [_line(row) for row in range(len(contents))])
        return read_encoded(self.place.path, packed, rows, samples, options)
