"""What is looked at? All images of a data set with split, class and file, and what reading each once has shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from truefit.data.images import Progress
from truefit.data.sources.folder import find_splits, walk_images
from truefit.doctor.audit.pairs import Pair, near_pairs
from truefit.doctor.audit.scan import Facts, scan_files, scan_pixels
from truefit.errors import InputError

SINGLE = "all"
"""The name of the only split of a folder that has class folders and no splits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """n images.

    spec: what was asked for. splits: names of the splits, train first; one called "all" where splits are yet to be
    drawn. split: int64 (n,), an index into them. classes: of all splits. labels: int64 (n,), an index into them.
    names: of the files as they are shown, relative to the folder. paths: absolute; None where there are no files.
    folders: of each split, the folder names in it that hold images, hidden ones too. facts: one a row.
    label_errors: whether the search for label errors, which trains networks, was asked for.
    """

    spec: str
    splits: tuple[str, ...]
    split: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    paths: tuple[str, ...] | None
    folders: Mapping[str, tuple[str, ...]]
    facts: Facts
    label_errors: bool = False
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def copies(self) -> list[npt.NDArray[np.int64]]:
        """Groups of at least two images whose decoded pixels are the same, each in ascending order."""
        groups: dict[bytes, list[int]] = {}
        for row, digest in enumerate(self.facts.pixel_digest):
            if digest:
                groups.setdefault(digest, []).append(row)
        return [np.asarray(rows, np.int64) for rows in groups.values() if len(rows) > 1]

    @cached_property
    def near(self) -> list[Pair]:
        """Pairs of images that are nearly the same, the most alike first; searched for once."""
        # Of the copies one in each split is enough.
        skip = np.zeros(len(self), bool)
        for rows in self.copies:
            seen: set[int] = set()
            for row in rows:
                skip[row] = int(self.split[row]) in seen
                seen.add(int(self.split[row]))
        usable = np.flatnonzero(self.facts.readable & ~skip & (self.facts.deviation >= 2))
        pairs = near_pairs(self.facts.thumbnails, usable)
        same = self.facts.pixel_digest
        return [pair for pair in pairs if same[pair.first] != same[pair.second]]

    def describe(self, row: int) -> str:
        """The name and class of an image."""
        return f"{self.names[row]} ({self.classes[self.labels[row]]})"


def gather(
    spec: str,
    *,
    validation: Path | None = None,
    test: Path | None = None,
    label_errors: bool = False,
    on_progress: Progress | None = None,
) -> Material:
    """Find and read all images of a folder (with train/, val/, test/, or class folders alone) or a known data set.

    validation, test: folders of class folders for these splits, in place of those in `spec`.
    Raises InputError where there is no such data, or no image in a class folder.
    """
    root = Path(spec).expanduser()
    from truefit.data.sources import sources

    if spec in sources() and validation is None and test is None:
        return _known(spec, label_errors)
    layout = _layout(root, validation, test)
    folders: dict[str, tuple[str, ...]] = {}
    rows: list[tuple[int, str, str]] = []
    for number, (split, place) in enumerate(layout.items()):
        found = {}
        for folder in sorted(entry for entry in place.iterdir() if entry.is_dir()):
            hidden = folder.name.startswith(".") or folder.name == "__MACOSX"
            images, _ = walk_images(folder.absolute())
            if images or not hidden:
                found[folder.name] = images
            if not hidden:
                rows += [(number, folder.name, path) for path in images]
        folders[split] = tuple(found)
    if not rows:
        raise InputError(
            "there is no image in a class folder",
            where=root.absolute(),
            found=", ".join(f"{split}/: {len(names)} folders" for split, names in folders.items()),
            wanted="a folder for each class, with its images in it; or train/ with val/ and/or test/",
        )
    classes = tuple(sorted({name for _, name, _ in rows}))
    number_of = {name: label for label, name in enumerate(classes)}
    paths = tuple(path for _, _, path in rows)
    base = root.absolute()
    return Material(
        spec=spec,
        splits=tuple(layout),
        split=np.asarray([split for split, _, _ in rows], np.int64),
        classes=classes,
        labels=np.asarray([number_of[name] for _, name, _ in rows], np.int64),
        names=tuple(_relative(path, base) for path in paths),
        paths=paths,
        folders=folders,
        facts=scan_files(paths, on_progress=on_progress),
        label_errors=label_errors,
    )


def _layout(root: Path, validation: Path | None, test: Path | None) -> dict[str, Path]:
    for place in (root, validation, test):
        if place is not None and not place.is_dir():
            raise InputError(
                "the folder does not exist", where=place.absolute(), wanted="a folder of images, or a known name"
            )
    layout = find_splits(root)
    if "train" not in layout:
        layout = {SINGLE if validation is None and test is None else "train": root}
    if validation is not None:
        layout["validation"] = validation
    if test is not None:
        layout["test"] = test
    return layout


def _relative(path: str, base: Path) -> str:
    return str(Path(path).relative_to(base)) if Path(path).is_relative_to(base) else path


def _known(name: str, label_errors: bool) -> Material:
    from truefit.data.lookup import load_data

    data = load_data(name, val_fraction=0)
    parts = data.splits
    blocks = [part.read(np.arange(len(part))) for part in parts]
    return Material(
        spec=name,
        splits=tuple(part.split for part in parts),
        split=np.concatenate([np.full(len(part), number) for number, part in enumerate(parts)]).astype(np.int64),
        classes=data.classes,
        labels=np.concatenate([part.labels for part in parts]),
        names=tuple(f"{part.split}[{row}]" for part in parts for row in range(len(part))),
        paths=None,
        folders={part.split: data.classes for part in parts},
        facts=scan_pixels(np.concatenate(blocks)),
        label_errors=label_errors,
    )
