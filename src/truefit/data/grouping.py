"""Splits that were drawn, drawn once more by groups: images whose file names have the same match stay in one split."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np

from truefit.data.folds import groups_of, hold_out_groups, joined
from truefit.data.imageset import Data, ImageSet
from truefit.data.listing import TEST_FRACTION
from truefit.errors import InputError, shorten


def by_groups(data: Data, pattern: str, fraction: float, split_seed: int) -> Data:
    """The data with its drawn splits drawn anew from the same images, whole groups each.

    pattern: a regular expression, see `folds.groups_of`. fraction: the share of validation, 0..1, as for `load_data`.
    Raises InputError where no split is drawn and groups lie in more than one, and where a class would be left without
    images to train on.
    """
    parts = [part for part in data.splits if part.split == "train" or part.split in data.drawn]
    pool = reduce(joined, parts)
    pool = replace(pool, split="train", groups=tuple(groups_of(pool, pattern)))
    left, notes = np.arange(len(pool)), list[str]()
    drawn: dict[str, ImageSet] = {}
    for split in ("test", "validation"):
        if split in data.drawn:
            share = TEST_FRACTION if split == "test" else fraction * len(pool) / len(left)
            inside = [pool.groups[row] for row in left.tolist()] if pool.groups is not None else []
            kept, held = hold_out_groups(
                pool.labels[left], share, inside, split=split, split_seed=split_seed, where="--group-pattern"
            )
            drawn[split] = pool.subset(left[held], split)
            left = left[kept]
            notes.append(f"{split}: {len(held)} images drawn, whole groups of {pattern} (split seed {split_seed})")
    found: dict[str, ImageSet] = {"train": pool.subset(left), **drawn}
    for part in data.splits:
        if part.split not in found:
            found[part.split] = replace(part, groups=tuple(groups_of(part, pattern)))
    _check(found["train"].counts().tolist(), data.classes)
    _check_apart({split: set(part.groups or ()) for split, part in found.items()})
    kept_notes = [note for note in data.notes if not any(note.startswith(f"{split}: ") for split in data.drawn)]
    return replace(
        data,
        train=found["train"],
        validation=found.get("validation"),
        test=found.get("test"),
        notes=(*kept_notes, *notes),
    )


def _check(counts: list[int], classes: tuple[str, ...]) -> None:
    gone = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if gone:
        raise InputError(
            "splits of whole groups leave classes without images to train on",
            where="--group-pattern",
            found=shorten(gone),
            wanted="at least two groups for each class",
            fix="another --split-seed",
        )


def _check_apart(groups: dict[str, set[str]]) -> None:
    splits = list(groups)
    for at, split in enumerate(splits):
        for other in splits[:at]:
            both = sorted(groups[split] & groups[other])
            if both:
                raise InputError(
                    "groups lie in more than one split",
                    where="--group-pattern",
                    found=f"{len(both)} groups in {other} and {split}: {shorten(both, 5)}",
                    wanted="each group in one split",
                    fix="move the files, or leave --group-pattern out",
                )
