"""Splits are stratified, and depend on the split seed alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from truefit.data.splits import check_fraction, hold_out
from truefit.errors import InputError

LABELS = np.repeat(np.arange(3), [100, 60, 40]).astype(np.int64)
CLASSES = ("a", "b", "c")


def test_proportions_and_order() -> None:
    kept, held = hold_out(LABELS, 20, classes=CLASSES, split="test", split_seed=0)
    assert np.bincount(LABELS[held]).tolist() == [10, 6, 4]
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    assert sorted([*kept, *held]) == list(range(200))


def test_the_split_seed_alone_decides() -> None:
    def draw(seed: int, split: str = "test") -> list[int]:
        return hold_out(LABELS, 20, classes=CLASSES, split=split, split_seed=seed)[1].tolist()

    first = draw(0)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    random.seed(5)
    assert draw(0) == first
    assert draw(1) != first
    assert draw(0, "validation") != first


def test_drawing_leaves_the_global_generators_alone() -> None:
    before = np.random.get_state()[2], torch.get_rng_state().clone()  # noqa: NPY002
    hold_out(LABELS, 20, classes=CLASSES, split="test", split_seed=0)
    assert np.random.get_state()[2] == before[0]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(2, 12), min_size=2, max_size=6),
    st.floats(0.01, 0.98),
    st.integers(-5, 5),
    st.booleans(),
)
def test_every_class_is_on_both_sides(counts: list[int], fraction: float, seed: int, two: bool) -> None:
    keep = 2 if two and min(counts) > 2 else 1
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    names = [str(label) for label in range(len(counts))]
    held_out = round(fraction * len(labels))
    kept, held = hold_out(labels, held_out, classes=names, split="test", split_seed=seed, keep=keep)
    assert np.bincount(labels[kept], minlength=len(counts)).min() >= keep
    assert np.bincount(labels[held], minlength=len(counts)).min() >= 1
    assert sorted([*kept, *held]) == list(range(len(labels)))


def test_a_class_too_small_is_named() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2, 2], np.int64)
    with pytest.raises(InputError, match=r"b \(1\)") as caught:
        hold_out(labels, 2, classes=CLASSES, split="validation", split_seed=0)
    assert "a (3)" not in str(caught.value)
    assert "at least 2" in str(caught.value)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_fractions_out_of_range(fraction: float) -> None:
    with pytest.raises(InputError, match="val_fraction"):
        check_fraction(fraction)


@pytest.mark.parametrize("fraction", [None, 0, 0.1, 0.999])
def test_fractions_in_range(fraction: float | None) -> None:
    assert check_fraction(fraction) == fraction
