"""Which images are held out? Stratified splits, drawn from the split seed alone.

The draw is that of scikit-learn's `train_test_split(stratify=labels)`, number for number, written out here because
importing that function takes longer than everything else before the first step of a small training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from truefit import rng
from truefit.errors import InputError, shorten

Labels = npt.NDArray[np.int64]


def check_fraction(fraction: float | None) -> float | None:
    """`fraction` if it is None or lies in [0, 1); otherwise an `InputError`."""
    if fraction is None or 0 <= fraction < 1:
        return fraction
    raise InputError(
        "val_fraction is out of range",
        where="--val-fraction",
        found=fraction,
        wanted="0 <= val_fraction < 1",
        fix="0.1 holds out a tenth for validation; 0 trains without validation",
    )


def hold_out(
    labels: Labels,
    held: int,
    *,
    classes: Sequence[str],
    split: str,
    split_seed: int,
    keep: int = 1,
    where: object = None,
) -> tuple[Labels, Labels]:
    """Draw `held` of n samples, each class in its proportion: (indices kept, indices held out), sorted.

    labels:     int64 (n,), or 0 and 1 (n, K): then the draw is not stratified
    split:      what they are held out for, `validation` or `test`; draws for different splits are independent
    split_seed: any integer; with `labels`, `held` and `split` it alone decides the draw
    keep:       each class keeps at least this many samples

    Every class gets at least one sample held out, so a few more than `held` are where classes are small.
    Raises `InputError` naming the classes that have fewer than keep + 1 samples.
    """
    if labels.ndim == 2:
        order = np.random.default_rng(rng.key("split", split, split_seed)).permutation(len(labels))
        held = min(max(held, 1), len(labels) - keep)
        if held < 1:
            raise InputError(f"too few images to draw a {split} split", where=where, found=f"{len(labels)} images")
        return np.sort(order[held:]), np.sort(order[:held])
    counts = np.bincount(labels, minlength=len(classes))
    small = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < keep + 1]
    if small:
        raise InputError(
            f"too few images to draw a {split} split",
            where=where,
            found=shorten(small),
            wanted=f"at least {keep + 1} images of each class",
            fix="add images to these classes, or lay the splits out yourself as train/, val/ and test/",
        )
    held = min(max(held, len(classes)), len(labels) - keep * len(classes))
    held_part = _stratified(labels, held, rng.key("split", split, split_seed) % 2**32)
    is_held = np.zeros(len(labels), bool)
    is_held[held_part] = True
    for label in range(len(classes)):  # proportions round to nothing in a small class
        members = np.flatnonzero(labels == label)
        if not is_held[members].any():
            is_held[members[0]] = True
        spare = members[is_held[members]][: max(0, keep - int((~is_held[members]).sum()))]
        is_held[spare] = False
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _stratified(labels: Labels, held: int, seed: int) -> Labels:
    """Positions of `held` of the samples, each class in its proportion."""
    random = np.random.RandomState(seed)
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    kept_of_class = _proportional(counts[present], len(labels) - held, random)
    held_of_class = _proportional(counts[present] - kept_of_class, held, random)
    chosen = []
    for label, keep, hold in zip(present, kept_of_class, held_of_class, strict=True):
        members = np.flatnonzero(labels == label)
        chosen.append(members[random.permutation(len(members))[keep : keep + hold]])
    return np.concatenate(chosen)


def _proportional(counts: Labels, total: int, random: np.random.RandomState) -> Labels:
    """`total` shared out in proportion to `counts`: rounded down, what is missing goes to the largest remainders, and
    among equal ones the draw decides. Sums to `total`."""
    exact = counts / counts.sum() * total
    shares: npt.NDArray[np.float64] = np.floor(exact)
    missing = int(total - shares.sum())
    for remainder in np.unique(exact - shares)[::-1]:
        if missing <= 0:
            break
        equal = np.flatnonzero(exact - np.floor(exact) == remainder)
        raised = random.choice(equal, size=min(len(equal), missing), replace=False)
        shares[raised] += 1
        missing -= len(raised)
    rounded: Labels = shares.astype(np.int64)
    return rounded
