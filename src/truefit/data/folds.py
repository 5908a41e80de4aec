"""Which samples are held out in which fold? Stratified by class, and by group where there are groups."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from truefit import rng
from truefit.data.cachefile import CachedImages
from truefit.data.imageset import Data, ImageSet
from truefit.data.packed import Joined
from truefit.data.splits import Labels, hold_out
from truefit.errors import InputError, shorten


def assign(labels: Labels, folds: int, *, split_seed: int, groups: Sequence[str] | None = None) -> Labels:
    """The fold of each sample, 0..folds-1, int64 (n,): each class in its proportion, each group in one fold.

    labels: int64 (n,); or 0 and 1 (n, K), and then classes are left to chance.
    Raises InputError for fewer than two folds, and where a class (or, with groups, the number of groups) is smaller
    than the number of folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if labels.ndim == 2:
        labels = np.zeros(len(labels), np.int64)
    fewest = int(np.bincount(labels)[np.unique(labels)].min()) if groups is None else len(set(groups))
    if not 2 <= folds <= fewest:
        raise InputError(
            "the number of folds does not fit",
            where="--folds",
            found=folds,
            wanted=f"from 2 to {fewest}, the {'images of the smallest class' if groups is None else 'groups'}",
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    maker = kind(folds, shuffle=True, random_state=rng.key("folds", split_seed) % 2**32)
    found = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer groups than there are folds
        for number, (_, held) in enumerate(maker.split(np.zeros(len(labels)), labels, groups)):
            found[held] = number
    return found


def groups_of(images: ImageSet, pattern: str) -> list[str]:
    """The group of each image: what the pattern matches in its file's name, or its first group in parentheses.

    Raises InputError where it is no regular expression, there are no files, or a name does not match.
    """
    if images.paths is None:
        raise InputError("groups are found in file names", where="--group-pattern", found="data without files")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            "this is no regular expression", where="--group-pattern", found=f"{pattern} ({error})"
        ) from None
    matches = {path: compiled.search(Path(path).name) for path in images.paths}
    without = [Path(path).name for path, match in matches.items() if match is None]
    if without:
        raise InputError(
            "file names do not match the pattern",
            where="--group-pattern",
            found=f"{len(without)} names ({shorten(without, 5)})",
            wanted=f"a match of {pattern} in each",
        )
    return [match.group(1 if compiled.groups else 0) for match in matches.values() if match is not None]


def find_groups(images: ImageSet, pattern: str | None) -> Sequence[str] | None:
    """The group of each image: by the pattern where there is one, else as the data states them; None without any."""
    return images.groups if pattern is None else groups_of(images, pattern)


def hold_out_groups(
    labels: Labels, fraction: float, groups: Sequence[str], *, split: str, split_seed: int, where: object = None
) -> tuple[Labels, Labels]:
    """Draw whole groups, about `fraction` (0..1) of the samples: (indices kept, indices held out), sorted.

    Raises InputError where there are fewer than two groups.
    """
    if len(set(groups)) < 2:
        raise InputError(
            f"too few groups to draw a {split} split",
            where=where,
            found=shorten(sorted(set(groups))),
            wanted="at least two groups: images of one group stay in one split",
        )
    held = _whole_groups(labels, fraction, groups, rng.key(split, split_seed))
    return np.flatnonzero(~held), np.flatnonzero(held)


def _whole_groups(labels: Labels, fraction: float, groups: Sequence[str], seed: int) -> npt.NDArray[np.bool_]:
    """(n,): which samples are held out. Of folds, which differ in size as groups do, the one closest to `fraction`."""
    parts = min(max(2, round(1 / fraction)), len(set(groups)))
    number = assign(labels, parts, split_seed=seed, groups=groups)
    sizes = np.bincount(number, minlength=parts)
    held: npt.NDArray[np.bool_] = number == np.abs(sizes - fraction * len(labels)).argmin()
    return held


def pool_of(data: Data) -> ImageSet:
    """Train and validation as one set; test is left out."""
    return data.train if data.validation is None else joined(data.train, data.validation)


def fold_of(data: Data, fold: int, folds: int, group_pattern: str | None = None) -> Data:
    """Fold number `fold`, from 1, of train and validation: its samples are the test split, and of the others a part
    is validation (as large as `val_fraction` says, drawn anew), the rest train. The data's own test split is in none.
    """
    pool, options = pool_of(data), data.options
    split_seed = options.get("split_seed", 0)
    if not 1 <= fold <= folds:
        raise InputError("there is no such fold", found=fold, wanted=f"1 to {folds}")
    groups = find_groups(pool, group_pattern)
    number = assign(pool.labels, folds, split_seed=split_seed, groups=groups)
    rest, held = np.flatnonzero(number != fold - 1), np.flatnonzero(number == fold - 1)
    fraction = options.get("val_fraction")
    fraction = 0.1 if fraction is None else fraction
    chosen = np.zeros(0, np.int64)
    if fraction > 0 and groups is None:
        wanted = round(fraction * len(rest))
        _, chosen = hold_out(
            pool.labels[rest], wanted, classes=pool.classes, split=f"validation {fold}", split_seed=split_seed
        )
    elif fraction > 0 and groups is not None:
        inner = [groups[row] for row in rest.tolist()]
        chosen = np.flatnonzero(_whole_groups(pool.labels[rest], fraction, inner, split_seed))
    train = pool.subset(np.delete(rest, chosen), "train")
    gone = [name for name, count in zip(train.classes, train.counts(), strict=True) if count == 0]
    if gone:
        raise InputError(
            f"nothing is left to train on in fold {fold}", found=f"no image of {shorten(gone)}", fix="use fewer folds"
        )
    about: dict[str, Any] = {"fold": fold, "folds": folds, "group_pattern": group_pattern}
    return replace(
        data,
        train=train,
        validation=pool.subset(rest[chosen], "validation") if len(chosen) else None,
        test=pool.subset(held, "test"),
        notes=(f"fold {fold} of {folds}: its {len(held)} images are the test split here; the data's own is in none",),
        options={**options, **about},
    )


def joined(first: ImageSet, second: ImageSet) -> ImageSet:
    """Two splits of one data set, held in the same way, as one."""
    pixels, cached, packed, paths, groups = None, None, None, None, None
    if first.pixels is not None and second.pixels is not None:
        pixels = np.concatenate([first.pixels, second.pixels])
    if first.cached is not None and second.cached is not None:
        cached = CachedImages(first.cached.file, np.concatenate([first.cached.rows, second.cached.rows]))
    if first.paths is not None and second.paths is not None:
        paths = first.paths + second.paths
    if first.packed is not None and second.packed is not None:
        packed = Joined(first.packed, second.packed)
    if first.groups is not None and second.groups is not None:
        groups = first.groups + second.groups
    return replace(
        first,
        labels=np.concatenate([first.labels, second.labels]),
        pixels=pixels,
        cached=cached,
        packed=packed,
        paths=paths,
        groups=groups,
        skipped=(),
    )
