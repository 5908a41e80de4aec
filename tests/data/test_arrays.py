"""Files of NumPy and torch: which array is what, layouts, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from truefit.data.lookup import load_data
from truefit.errors import InputError


def made(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 8, 8, 3) whose red channel tells the label and whose green one the number; int (n,)."""
    labels = np.arange(n) % 2
    images = np.zeros((n, 8, 8, 3), np.uint8)
    images[..., 0], images[..., 1] = labels[:, None, None] * 50, np.arange(n)[:, None, None]
    return images, labels


def check(path: Path, n: int = 40) -> Any:
    """Loads it, and compares every label with its image."""
    data = load_data(path)
    numbers = []
    for part in data.splits:
        pixels = part.read(range(len(part)))[:, 0, 0]
        assert [int(pixel[0]) // 50 for pixel in pixels] == part.labels.tolist()
        numbers += [int(pixel[1]) for pixel in pixels]
    assert sorted(numbers) == list(range(n))
    return data


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_data(path)
    return str(caught.value)


def test_an_archive_with_splits_as_keras_has_it(tmp_path: Path) -> None:
    images, labels = made()
    np.savez(tmp_path / "d.npz", x_train=images[:30], y_train=labels[:30], x_test=images[30:], y_test=labels[30:])
    data = check(tmp_path / "d.npz")
    assert len(data.test) == 10
    assert data.drawn == ("validation",)


def test_an_archive_with_splits_as_medmnist_has_it(tmp_path: Path) -> None:
    images, labels = made()
    parts = {"train": slice(0, 20), "val": slice(20, 30), "test": slice(30, 40)}
    arrays = {f"{name}_images": images[at] for name, at in parts.items()}
    arrays |= {f"{name}_labels": labels[at, None] for name, at in parts.items()}
    np.savez_compressed(tmp_path / "d.npz", **arrays)
    assert [len(part) for part in check(tmp_path / "d.npz").splits] == [20, 10, 10]


def test_names_of_classes_and_groups_beside_the_labels(tmp_path: Path) -> None:
    images, labels = made()
    groups = np.arange(40) // 4
    np.savez(tmp_path / "d.npz", images=images, labels=labels, classes=np.array(["cat", "ant"]), groups=groups)
    data = check(tmp_path / "d.npz")
    assert data.classes == ("cat", "ant")
    inside = [set(part.groups) for part in data.splits]
    assert sum(map(len, inside)) == 10


def test_one_array_with_its_labels_in_a_file_beside_it(tmp_path: Path) -> None:
    images, labels = made()
    np.save(tmp_path / "images.npy", images)
    assert "no labels beside" in refused(tmp_path / "images.npy")
    np.save(tmp_path / "labels.npy", labels)
    check(tmp_path / "images.npy")


@pytest.mark.parametrize("kind", ["dictionary", "pair", "splits", "float"])
def test_tensors(tmp_path: Path, kind: str) -> None:
    images, labels = (torch.from_numpy(array) for array in made())
    images = images.permute(0, 3, 1, 2)
    content: Any = {"images": images, "labels": labels}
    if kind == "pair":
        content = (images, labels)
    elif kind == "float":
        content = {"images": images / 255, "labels": labels}
    elif kind == "splits":
        content = {"train": (images[:30], labels[:30]), "test": {"x": images[30:], "y": labels[30:]}}
    torch.save(content, tmp_path / "d.pt")
    data = check(tmp_path / "d.pt")
    assert len(data.test) == (10 if kind == "splits" else 4)


def test_a_file_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    torch.save(torch.utils.data.TensorDataset(torch.zeros(4, 3, 8, 8), torch.zeros(4)), tmp_path / "d.pt")
    text = refused(tmp_path / "d.pt")
    assert "without executing code" in text
    assert 'torch.save({"images"' in text
    np.savez(tmp_path / "d.npz", images=np.array([{}], dtype=object), labels=np.array([0]))
    assert "can't be read" in refused(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": np.zeros((4, 8, 8, 3), np.uint8)}, "no labels for"),
        ({"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.zeros(3, int)}, "labels do not fit"),
        ({"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.full(4, 0.5)}, "labels do not fit"),
        ({"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.array(3)}, "labels do not fit"),
        (
            {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.arange(4) % 2, "groups": np.arange(5)},
            "groups do not fit",
        ),
        ({"images": np.zeros((4, 8, 8, 5), np.uint8), "labels": np.zeros(4, int)}, "these are no images"),
        ({"images": np.full((4, 8, 8, 3), 2.0), "labels": np.zeros(4, int)}, "outside of 0..1"),
        ({"images": np.zeros((4, 8, 8, 3), np.uint8), "x": np.zeros(1), "labels": np.zeros(4)}, "the same thing"),
        ({"a": np.zeros(4)}, "can't be told by their names"),
        (
            {"images": np.zeros((2, 8, 8), np.uint8), "labels": np.array([0, 2]), "classes": np.array(["a", "b"])},
            "outside of the classes",
        ),
        (
            {"images": np.zeros((2, 8, 8), np.uint8), "labels": np.array([0, 1]), "classes": np.array(["a", "a"])},
            "two classes have the same name",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    assert said in refused(tmp_path / "d.npz")


def test_nobody_is_advised_to_load_a_file_unsafely(tmp_path: Path) -> None:
    (tmp_path / "d.npz").write_bytes(bytes(range(200)))
    said = refused(tmp_path / "d.npz")
    assert "can't be read" in said
    assert "pickle" not in said


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    images, labels = made()
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    assert "can't be read" in refused(tmp_path / "d.npz")
