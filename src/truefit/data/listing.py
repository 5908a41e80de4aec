"""From samples that a source has listed to splits: given ones, or drawn; grouped where groups are stated.

A source says which samples there are, with their labels, and how images are read; what becomes of them is decided
here, alike for all sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from truefit.data.folds import hold_out_groups
from truefit.data.imageset import Data, ImageSet
from truefit.data.splits import Labels, hold_out
from truefit.errors import InputError, shorten

if TYPE_CHECKING:
    from truefit.data.sources import Options

TEST_FRACTION = 0.1
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
"""What a split may be called, in lower case, and which one is meant."""

Rows: TypeAlias = dict[str, Labels]
"""For each split the rows of its samples, int64."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is known of n samples before their images are read.

    labels: int64 (n,) into `classes`, or 0 and 1 (n, len(classes)). groups: n names, or None.
    """

    classes: tuple[str, ...]
    labels: Labels
    groups: tuple[str, ...] | None = None

    def part(self, rows: Labels) -> tuple[Labels, tuple[str, ...] | None]:
        """Labels and groups of the samples at `rows`."""
        return self.labels[rows], None if self.groups is None else tuple(self.groups[row] for row in rows)


Read: TypeAlias = "Callable[[Rows, Samples, Options], tuple[dict[str, ImageSet], list[str]]]"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All samples of one place.

    name: short and safe in a file name. spec: what finds them again. labels: the class of each by its name, or for
    several labels an array of 0 and 1 (n, len(classes)). classes: None: those that occur in train, sorted, whole
    numbers by their value. splits: of each sample `train`, `validation` or `test`; None where they are not given.
    groups: of each sample, or None. read: the images of the chosen rows, and what the user should be told.
    """

    name: str
    spec: str
    labels: Sequence[str] | Labels
    read: Read
    classes: tuple[str, ...] | None = None
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    mirror: bool = True
    notes: tuple[str, ...] = field(default=())


def find_split(name: str, where: object) -> str:
    """The split that is meant by a name. Raises InputError for any other."""
    found = SPLITS.get(name.strip().lower())
    if found is None:
        raise InputError(
            "this is not the name of a split", where=where, found=repr(name), wanted="train, validation (val) or test"
        )
    return found


def arrange(listing: Listing, options: Options) -> Data:
    """The data set of a listing: what is not given is drawn, as from a folder (see `lookup.load_data`).

    Raises InputError: no samples, no train split, one class, labels that train does not have.
    """
    if len(listing.labels) == 0:
        raise InputError("there are no samples", where=listing.spec, found="nothing", wanted="at least two classes")
    rows = _given(listing)
    notes = list(listing.notes)
    if rows is not None and "train" not in rows:
        raise InputError(
            "there is no train split", where=listing.spec, found=", ".join(rows), wanted="samples of the train split"
        )
    train_rows = np.arange(len(listing.labels)) if rows is None else rows["train"]
    samples = _samples(listing, _classes(listing, train_rows))
    if len(samples.classes) < 2 and samples.labels.ndim == 1:
        raise InputError("there is only one class", where=listing.spec, found=samples.classes[0], wanted="at least two")
    labels = samples.labels[train_rows]
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(samples.classes))
    never = [name for name, count in zip(samples.classes, counts, strict=True) if count == 0]
    if never:
        raise InputError(
            "labels never occur in train", where=listing.spec, found=shorten(never), wanted="at least one image of each"
        )
    drawn: list[str] = []
    rows = _complete(listing, samples, rows, options, drawn, notes)
    sets, told = listing.read(rows, samples, options)
    for split in drawn:
        how = (
            "whole groups" if samples.groups is not None else "at random" if samples.labels.ndim == 2 else "stratified"
        )
        notes.append(f"{split}: {len(sets[split])} images drawn, {how} (split seed {options.split_seed})")
    return Data(
        name=listing.name,
        spec=listing.spec,
        train=sets["train"],
        validation=sets.get("validation"),
        test=sets.get("test"),
        mirror=listing.mirror,
        notes=(*notes, *told),
        drawn=tuple(drawn),
    )


def chosen_split(listing: Listing, classes: tuple[str, ...], split: str | None, options: Options) -> ImageSet:
    """One split, with labels in the order of `classes` (a run's). None: test, else validation; all where none is given.

    Raises InputError for labels that the run does not know, and where there is no such split.
    """
    rows = _given(listing) or {"test": np.arange(len(listing.labels))}
    if split is None:
        split = next((name for name in ("test", "validation") if name in rows), "test")
    if split not in rows:
        raise InputError(f"there is no {split} split", where=listing.spec, found=", ".join(rows))
    samples = _samples(listing, classes)
    sets, _ = listing.read({split: rows[split]}, samples, options)
    return sets[split]


def _given(listing: Listing) -> Rows | None:
    if listing.splits is None:
        return None
    names = np.asarray(listing.splits)
    return {split: np.flatnonzero(names == split) for split in ("train", "validation", "test") if split in names}


def _classes(listing: Listing, train: Labels) -> tuple[str, ...]:
    if listing.classes is not None:
        return listing.classes
    names = {str(listing.labels[row]) for row in train.tolist()}
    numbers = all(name.lstrip("-").isascii() and name.lstrip("-").isdigit() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbers else (lambda name: (0, name))))


def _samples(listing: Listing, classes: tuple[str, ...]) -> Samples:
    groups = None if listing.groups is None else tuple(listing.groups)
    if isinstance(listing.labels, np.ndarray) and listing.labels.ndim == 2:
        if listing.classes != classes:
            raise InputError(
                "the labels are not those of the run, or have another order",
                where=listing.spec,
                found=shorten(listing.classes or ()),
                wanted=shorten(classes),
            )
        return Samples(classes=classes, labels=listing.labels, groups=groups)
    index = {name: label for label, name in enumerate(classes)}
    names = [str(name) for name in listing.labels]
    unknown = sorted({name for name in names if name not in index})
    if unknown:
        raise InputError(
            "there are labels that are not among the classes",
            where=listing.spec,
            found=shorten(map(repr, unknown)),
            wanted=f"among {shorten(classes)}, the classes of train",
        )
    return Samples(classes=classes, labels=np.asarray([index[name] for name in names], np.int64), groups=groups)


def _complete(
    listing: Listing, samples: Samples, rows: Rows | None, options: Options, drawn: list[str], notes: list[str]
) -> Rows:
    """The rows of each split: those given, and validation (and test, where nothing but train is given) drawn."""
    fraction = options.fraction
    given = rows if rows is not None else {"train": np.arange(len(samples.labels))}
    parts = dict(given)
    if set(parts) == {"train"}:
        if fraction + TEST_FRACTION >= 1:
            raise InputError(
                "val_fraction leaves nothing to train on",
                where=listing.spec,
                found=f"{fraction} for validation and {TEST_FRACTION} for test",
                wanted=f"val_fraction below {1 - TEST_FRACTION}",
            )
        whole = len(parts["train"])
        keep = 2 if fraction > 0 else 1
        parts["train"], parts["test"] = _draw(listing, samples, parts["train"], TEST_FRACTION, "test", options, keep)
        drawn.append("test")
        fraction = fraction * whole / len(parts["train"])
    if "validation" not in parts and fraction > 0:
        parts["train"], parts["validation"] = _draw(listing, samples, parts["train"], fraction, "validation", options)
        drawn.insert(0, "validation")
    elif "validation" in given and options.val_fraction == 0:
        del parts["validation"]
        notes.append("val_fraction is 0: the validation split is not used")
    elif "validation" in given and options.val_fraction is not None:
        notes.append("val_fraction is not used: the validation split is given")
    if samples.groups is not None:
        _check_groups(listing, samples, parts)
    return {split: parts[split] for split in ("train", "validation", "test") if split in parts}


def _draw(
    listing: Listing, samples: Samples, rows: Labels, fraction: float, split: str, options: Options, keep: int = 1
) -> tuple[Labels, Labels]:
    labels, groups = samples.part(rows)
    if groups is not None:
        kept, held = hold_out_groups(
            labels, fraction, groups, split=split, split_seed=options.split_seed, where=listing.spec
        )
        present = labels[kept].any(axis=0) if labels.ndim == 2 else np.bincount(labels[kept], minlength=1) > 0
        if labels.ndim == 1 and present.sum() < len(np.unique(labels)):
            gone = [samples.classes[label] for label in np.setdiff1d(labels, labels[kept])]
            raise InputError(
                f"a {split} split of whole groups leaves classes without images to train on",
                where=listing.spec,
                found=shorten(gone),
                wanted="at least two groups for each class",
                fix="another --split-seed, or a split column",
            )
    else:
        count = round(fraction * len(rows))
        kept, held = hold_out(
            labels,
            count,
            classes=samples.classes,
            split=split,
            split_seed=options.split_seed,
            keep=keep,
            where=listing.spec,
        )
    return rows[kept], rows[held]


def _check_groups(listing: Listing, samples: Samples, parts: Rows) -> None:
    assert samples.groups is not None
    seen: dict[str, str] = {}
    both: dict[str, str] = {}
    for split, rows in parts.items():
        for row in rows.tolist():
            before = seen.setdefault(samples.groups[row], split)
            if before != split:
                both[samples.groups[row]] = f"{samples.groups[row]} ({before} and {split})"
    if both:
        raise InputError(
            "groups lie in more than one split",
            where=listing.spec,
            found=f"{len(both)} groups: {shorten(both.values(), 5)}",
            wanted="each group in one split",
            fix="mend the split column, or leave it out: splits are then drawn by groups",
        )
