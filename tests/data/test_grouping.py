"""Splits by groups that file names tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from truefit.data.folds import hold_out_groups
from truefit.data.lookup import load_data
from truefit.errors import InputError

PATTERN = r"^(p\d+)-"


def fill(folder: Path, patients: int = 10, each: int = 4, first: int = 0) -> Path:
    """Images named PATIENT-NUMBER.png, every patient with both classes; the green channel tells the patient."""
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for patient in range(first, first + patients):
            for number in range(each):
                place = folder / name / f"p{patient}-{number}.png"
                Image.new("RGB", (8, 8), (label * 50, patient, number)).save(place)
    return folder


def test_drawn_splits_take_whole_groups(tmp_path: Path) -> None:
    data = load_data(fill(tmp_path / "f"), group_pattern=PATTERN)
    inside = [set(part.read(range(len(part)))[:, 0, 0, 1].tolist()) for part in data.splits]
    assert [len(groups) for groups in inside] == [8, 1, 1]
    assert set.union(*inside) == set(range(10))
    for part in data.splits:
        assert part.groups is not None
        patients = part.read(range(len(part)))[:, 0, 0, 1].tolist()
        assert [f"p{patient}" for patient in patients] == list(part.groups)
        assert (part.read(range(len(part)))[:, 0, 0, 0] // 50).tolist() == part.labels.tolist()
    assert sum("whole groups" in note for note in data.notes) == 2
    again = load_data(data.spec, **data.options)
    assert [part.fingerprint() for part in again.splits] == [part.fingerprint() for part in data.splits]


def test_a_large_group_is_not_held_out_for_a_small_split() -> None:
    groups = ["large"] * 500 + [f"p{number}" for number in range(18) for _ in range(25)]
    labels = np.asarray([0] * 500 + [number % 2 for number in range(18) for _ in range(25)])
    for seed in range(3):
        kept, held = hold_out_groups(labels, 0.1, groups, split="test", split_seed=seed)
        assert 50 <= len(held) <= 150
        assert not {groups[row] for row in kept} & {groups[row] for row in held}


def test_given_test_split_stays_and_validation_is_drawn_by_groups(tmp_path: Path) -> None:
    fill(tmp_path / "f" / "train")
    fill(tmp_path / "f" / "test", patients=3, first=20)
    data = load_data(tmp_path / "f", group_pattern=PATTERN)
    assert [len(set(part.groups or ())) for part in data.splits] == [9, 1, 3]
    assert load_data(tmp_path / "f", group_pattern=PATTERN, val_fraction=0).validation is None


def test_a_group_in_train_and_test_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "f" / "train")
    fill(tmp_path / "f" / "test", patients=1)
    with pytest.raises(InputError, match="more than one split") as caught:
        load_data(tmp_path / "f", group_pattern=PATTERN)
    assert "p0" in str(caught.value)


def test_names_that_do_not_match_and_single_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not match the pattern"):
        load_data(fill(tmp_path / "f"), group_pattern="^q")
    with pytest.raises(InputError, match="too few groups"):
        load_data(fill(tmp_path / "g", patients=1, each=30), group_pattern=PATTERN)
