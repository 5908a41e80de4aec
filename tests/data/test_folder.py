"""Folders of real image files: layouts, class order, sizes, memory, and every kind of bad input."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from truefit.data.images import UnreadableImage, read_image
from truefit.data.imageset import ImageSet, available_memory
from truefit.data.lookup import list_images, load_data, load_images
from truefit.errors import InputError


def fill(
    folder: Path, classes: Sequence[str] = ("cat", "dog"), n: int = 10, size: tuple[int, int] = (8, 8), blue: int = 7
) -> Path:
    """n PNG files for each class; the red channel tells the class, the green one the number."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            Image.new("RGB", size, (label * 50, number, blue)).save(folder / name / f"{number:03}.png")
    return folder


def numbers(part: ImageSet | None) -> list[tuple[int, int]]:
    """(class, number) of each image, read from its pixels."""
    assert part is not None
    return [(int(pixel[0]) // 50, int(pixel[1])) for pixel in part.read(range(len(part)))[:, 0, 0]]


def refused(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load_data(path, **options)  # type: ignore[arg-type]
    assert {"where", "found", "wanted"} <= caught.value.details.keys()
    return str(caught.value)


def test_class_folders_are_split_80_10_10(tmp_path: Path) -> None:
    data = load_data(fill(tmp_path / "My pets 🐾!", n=50))
    assert (data.name, data.classes, data.mirror) == ("My-pets", ("cat", "dog"), True)
    assert data.validation is not None
    assert data.test is not None
    assert [part.counts().tolist() for part in data.splits] == [[40, 40], [5, 5], [5, 5]]
    everything = [number for part in data.splits for number in numbers(part)]
    assert len(set(everything)) == 100
    for part in data.splits:
        assert [label for label, _ in numbers(part)] == part.labels.tolist()
        assert part.paths is not None
        assert [Path(path).parent.name for path in part.paths] == [data.classes[label] for label in part.labels]
    assert sum("split seed 0" in note for note in data.notes) == 2


def test_splits_depend_on_the_split_seed_and_not_on_the_place(tmp_path: Path) -> None:
    one, two = fill(tmp_path / "one", n=30), tmp_path / "two"
    shutil.copytree(one, two)
    first, moved, other = load_data(one), load_data(two), load_data(one, split_seed=1)
    assert numbers(first.test) == numbers(moved.test) != numbers(other.test)
    assert first.train.fingerprint() == moved.train.fingerprint() != other.train.fingerprint()


def test_train_and_test_draw_validation_from_train(tmp_path: Path) -> None:
    fill(tmp_path / "train", n=20)
    fill(tmp_path / "test", n=5, size=(8, 8), blue=9)
    data = load_data(tmp_path)
    assert [(part.split, len(part)) for part in data.splits] == [
        ("train", 36),
        ("validation", 4),
        ("test", 10),
    ]
    assert len({*numbers(data.train), *numbers(data.validation)}) == 40
    assert [len(part) for part in load_data(tmp_path, val_fraction=0.25).splits] == [30, 10, 10]
    whole = load_data(tmp_path, val_fraction=0)
    assert whole.validation is None
    assert len(whole.train) == 40


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_folder_by_any_name(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "train", n=6)
    fill(tmp_path / name, n=3)
    data = load_data(tmp_path)
    assert [(part.split, len(part)) for part in data.splits] == [("train", 12), ("validation", 6)]
    assert data.test is None
    assert not data.notes
    assert any("not used" in note for note in load_data(tmp_path, val_fraction=0.5).notes)
    without = load_data(tmp_path, val_fraction=0)
    assert without.validation is None
    assert len(without.train) == 12
    assert any("not used" in note for note in without.notes)


def test_val_fraction_0_of_class_folders_still_has_a_test_split(tmp_path: Path) -> None:
    data = load_data(fill(tmp_path, n=10), val_fraction=0)
    assert [(part.split, len(part)) for part in data.splits] == [("train", 18), ("test", 2)]


def test_train_alone_is_split_like_class_folders(tmp_path: Path) -> None:
    fill(tmp_path / "train", n=10)
    assert [len(part) for part in load_data(tmp_path).splits] == [16, 2, 2]


def test_what_is_hidden_is_not_seen_and_what_is_no_image_is_counted(tmp_path: Path) -> None:
    fill(tmp_path / "train", n=6)
    fill(tmp_path / "test", n=3)
    fill(tmp_path / "other")
    for hidden in (".git", ".ipynb_checkpoints", "__MACOSX"):
        (tmp_path / "train" / hidden).mkdir()
    for name in ("Thumbs.db", ".DS_Store", "._000.png", "notes.txt", "labels.csv"):
        (tmp_path / "train" / "cat" / name).write_text("x")
    data = load_data(tmp_path)
    assert data.classes == ("cat", "dog")
    assert [len(part) for part in data.splits] == [10, 2, 6]
    assert any("other" in note for note in data.notes)
    ignored = next(note for note in data.notes if "2 files" in note)
    assert "notes.txt" in ignored
    assert "labels.csv" in ignored


def test_suffix_case_deep_folders_spaces_and_emoji(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a b 🦊", ("ä ö", "🐶"), n=6)
    (folder / "🐶" / "000.png").rename(folder / "🐶" / "000.PNG")
    (folder / "🐶" / "deep er").mkdir()
    (folder / "🐶" / "001.png").rename(folder / "🐶" / "deep er" / "x.png")
    assert sum(len(part) for part in load_data(folder).splits) == 12


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_called_like_an_image_is_no_image(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pets")
    before = load_data(folder)
    os.mkfifo(folder / "cat" / "pipe.jpg")
    assert load_data(folder).train.paths == before.train.paths
    with pytest.raises(UnreadableImage, match="not a regular file"):
        read_image(folder / "cat" / "pipe.jpg")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on this system")
def test_the_name_of_a_class_has_to_be_text(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pets")
    os.rename(os.fsencode(folder / "cat"), os.fsencode(folder) + b"/caf\xe9")  # noqa: PTH104
    with pytest.raises(InputError, match="not text in UTF-8") as error:
        load_data(folder)
    assert "caf\\xe9" in str(error.value)


def test_a_folder_that_may_not_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "pets")

    def forbidden(place: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(InputError, match="no right to read") as error:
        load_data(folder)
    assert str(folder) in str(error.value)


def test_symlink_loops_are_survived_and_bring_nothing_in_twice(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", n=6)
    try:
        (folder / "cat" / "up").symlink_to(folder, target_is_directory=True)
        (folder / "cat" / "self").symlink_to(folder / "cat", target_is_directory=True)
        (folder / "again").symlink_to(".", target_is_directory=True)
    except OSError as reason:
        pytest.skip(f"no symbolic links here: {reason}")
    assert sum(part.counts() for part in load_data(folder).splits).tolist() == [6, 6]
    assert len(list_images(folder)) == 12


def test_own_size_where_all_are_equal_and_square(tmp_path: Path) -> None:
    data = load_data(fill(tmp_path, size=(20, 20)))
    assert {part.image_size for part in data.splits} == {20}
    assert data.train.pixels is not None
    assert data.train.pixels.shape[1:] == (20, 20, 3)
    assert not any("--image-size" in note for note in data.notes)
    asked = load_data(tmp_path, image_size=12)
    assert asked.train.image_size == 12
    assert not any("--image-size" in note for note in asked.notes)


@pytest.mark.parametrize("odd", [(20, 21), (513, 513)], ids=["not square", "another size"])
def test_differing_sizes_are_brought_to_the_default_and_said(tmp_path: Path, odd: tuple[int, int]) -> None:
    fill(tmp_path, size=(20, 20))
    Image.new("RGB", odd).save(tmp_path / "dog" / "odd.png")
    data = load_data(tmp_path, default_image_size=16)
    assert {part.image_size for part in data.splits} == {16}
    assert sum("16 x 16" in note for note in data.notes) == 1


def test_large_images_are_brought_to_the_default(tmp_path: Path) -> None:
    assert load_data(fill(tmp_path, n=3, size=(513, 513))).train.image_size == 32


def test_streamed_images_are_the_same_as_those_in_memory(tmp_path: Path) -> None:
    fill(tmp_path, size=(20, 14))
    held, streamed = load_data(tmp_path), load_data(tmp_path, memory_share=0)
    assert held.train.in_memory
    assert not streamed.train.in_memory
    rows = [3, 0, -1]
    np.testing.assert_array_equal(held.train.read(rows), streamed.train.read(rows))
    again = pickle.loads(pickle.dumps(streamed.train))  # as a spawned worker gets it
    assert torch.equal(again[2][0], held.train[2][0])
    print_of_files = streamed.train.fingerprint()
    assert print_of_files.startswith("blake2b:")
    assert streamed.train.paths is not None
    first = Path(streamed.train.paths[0])
    first.write_bytes(first.read_bytes()[:-1] + b"!")  # of the same length
    assert again.fingerprint() != print_of_files == streamed.train.fingerprint()


def test_streaming_finds_unreadable_files_before_and_during_training(tmp_path: Path) -> None:
    fill(tmp_path)
    data = load_data(tmp_path, memory_share=0)
    assert data.train.paths is not None
    Path(data.train.paths[1]).write_bytes(b"")
    with pytest.raises(InputError, match="0 bytes"):
        data.train.read([0, 1])
    assert "1 of 20" in refused(tmp_path, memory_share=0)


def test_items_and_batches(tmp_path: Path) -> None:
    train = load_data(fill(tmp_path)).train
    image, label = train[0]
    assert (image.dtype, tuple(image.shape), type(label)) == (torch.uint8, (3, 8, 8), int)
    image.zero_()
    assert train[0][0].any(), "an item is a copy"
    images, labels = next(iter(DataLoader(train, batch_size=4)))
    assert images.shape == (4, 3, 8, 8)
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), train.read(range(4)))
    assert labels.tolist() == train.labels[:4].tolist()
    assert [label for _, label in train.__getitems__([0, len(train) - 1])] == [0, 1]
    with pytest.raises(IndexError):
        train[len(train)]
    part = train.subset([5, 1], "test")
    assert (part.split, len(part), numbers(part)) == ("test", 2, [numbers(train)[5], numbers(train)[1]])
    assert numbers(train.subset(range(2, 5))) == numbers(train)[2:5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": np.zeros(2, np.int32)},
        {"labels": np.array([0, 2])},
        {"labels": np.array([0, -1])},
        {"pixels": np.zeros((3, 4, 4, 3), np.uint8)},
        {"pixels": np.zeros((2, 4, 4, 3), np.float32)},
        {"pixels": np.zeros((2, 3, 4, 4), np.uint8).transpose(0, 2, 3, 1)},
        {"pixels": None},
        {"paths": ("a.png",)},
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    right = {"labels": np.array([0, 1]), "pixels": np.zeros((2, 4, 4, 3), np.uint8)}
    ImageSet(split="train", classes=("a", "b"), **right)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="do not fit"):
        ImageSet(split="train", classes=("a", "b"), **{**right, **wrong})  # type: ignore[arg-type]


def test_available_memory_is_plausible() -> None:
    assert 2**20 < available_memory() < 2**50


def test_missing_folder_and_unknown_name(tmp_path: Path) -> None:
    assert str(tmp_path / "absent") in refused(tmp_path / "absent")
    with pytest.raises(InputError, match=r'did you mean "cifar10"\?') as caught:
        load_data("cifar-10")
    assert str(Path("cifar-10").absolute()) in str(caught.value)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert "not a folder" in refused(tmp_path / "a.zip")


def test_empty_folder_and_no_class_folders(tmp_path: Path) -> None:
    assert "empty" in refused(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert "no class folders" in refused(tmp_path)


def test_one_class_only(tmp_path: Path) -> None:
    assert "only one class" in refused(fill(tmp_path, ["cat"]))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_images_is_named(tmp_path: Path, split: str) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    for file in (tmp_path / split / "dog").iterdir():
        file.unlink()
    (tmp_path / split / "dog" / "readme.txt").write_text("none yet")
    message = refused(tmp_path)
    assert "no images" in message
    assert "dog" in message
    assert "cat" not in message.replace(str(tmp_path), "")


def spoil(folder: Path) -> list[str]:
    """An empty file, a truncated one and a text, in both classes."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    (folder / "cat" / "zero.jpg").write_bytes(b"")
    (folder / "dog" / "text.jpg").write_text("no image")
    Image.fromarray(noise).save(folder / "dog" / "cut.png")
    (folder / "dog" / "cut.png").write_bytes((folder / "dog" / "cut.png").read_bytes()[:120])
    return ["zero.jpg", "text.jpg", "cut.png"]


def test_all_unreadable_files_are_listed(tmp_path: Path) -> None:
    fill(tmp_path)
    names = spoil(tmp_path)
    message = refused(tmp_path)
    assert "3 of 23" in message
    assert all(name in message for name in names)
    assert "--skip-unreadable" in message


def test_at_most_20_are_spelt_out(tmp_path: Path) -> None:
    fill(tmp_path)
    for number in range(25):
        (tmp_path / "cat" / f"bad{number}.jpg").write_bytes(b"")
    message = refused(tmp_path)
    assert message.count("bad") == 20
    assert "and 5 more" in message


@pytest.mark.parametrize("memory_share", [0.25, 0])
def test_unreadable_files_are_skipped_counted_and_leave_the_other_splits_alone(
    tmp_path: Path, memory_share: float
) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "val", n=4)
    names = spoil(tmp_path / "train")
    data = load_data(tmp_path, skip_unreadable=True, memory_share=memory_share)
    assert [len(part) for part in data.splits] == [20, 8]
    assert numbers(data.train) == [(label, number) for label in (0, 1) for number in range(10)]
    assert data.train.labels.tolist() == [0] * 10 + [1] * 10
    assert len(data.skipped) == 3
    assert all(any(name in file for file in data.skipped) for name in names)
    assert any("3 images" in note for note in data.notes)


def test_a_broken_file_does_not_move_the_others_between_splits(tmp_path: Path) -> None:
    whole = load_data(fill(tmp_path, n=20))
    assert whole.train.paths is not None
    Path(whole.train.paths[4]).write_bytes(b"")
    less = load_data(tmp_path, skip_unreadable=True)
    assert numbers(less.test) == numbers(whole.test)
    assert numbers(less.validation) == numbers(whole.validation)


def test_nothing_readable_or_a_class_gone_is_refused_even_when_skipping(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    for file in (tmp_path / "train" / "dog").iterdir():
        file.write_bytes(b"")
    assert "dog" in refused(tmp_path, skip_unreadable=True)
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"")
    assert "40 of 40" in refused(tmp_path, skip_unreadable=True)


@pytest.mark.parametrize("name", ["val", "test"])
def test_other_classes_in_validation_or_test_are_listed(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "train", ["cat", "dog", "fox"])
    fill(tmp_path / name, ["cat", "dog", "wolf"])
    message = refused(tmp_path)
    assert "without fox" in message
    assert "with wolf" in message
    fill(tmp_path / name, ["fox"])
    assert "with wolf" in refused(tmp_path)
    shutil.rmtree(tmp_path / name / "wolf")
    shutil.rmtree(tmp_path / name / "cat")
    assert "without cat" in refused(tmp_path)


def test_no_train_folder_and_two_validation_folders(tmp_path: Path) -> None:
    fill(tmp_path / "val")
    fill(tmp_path / "test")
    assert "no train folder" in refused(tmp_path)
    fill(tmp_path / "train")
    fill(tmp_path / "valid")
    assert "two folders" in refused(tmp_path)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2])
def test_val_fraction_out_of_range(tmp_path: Path, fraction: float) -> None:
    assert "val_fraction" in refused(fill(tmp_path), val_fraction=fraction)


def test_val_fraction_that_leaves_no_train(tmp_path: Path) -> None:
    assert "nothing to train on" in refused(fill(tmp_path), val_fraction=0.95)


def test_a_class_too_small_to_be_split(tmp_path: Path) -> None:
    fill(tmp_path, n=10)
    fill(tmp_path, ["wolf"], n=2)
    assert "wolf (2)" in refused(tmp_path)


@pytest.mark.parametrize("option", [{"image_size": 0}, {"resize": "squash"}])
def test_other_options_are_checked(tmp_path: Path, option: dict[str, object]) -> None:
    refused(fill(tmp_path), **option)


def test_load_images_uses_the_classes_of_the_run(tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "dog"], n=3)
    found = load_images(tmp_path, ("dog", "fox", "cat"), image_size=8)
    assert found.split == "test"
    assert found.counts().tolist() == [3, 0, 3]
    assert found.classes == ("dog", "fox", "cat")
    with pytest.raises(InputError, match="does not know") as caught:
        load_images(tmp_path, ("cat", "fox"), image_size=8)
    assert "dog" in caught.value.details["found"]


def test_load_images_takes_the_split_that_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "train", n=5)
    fill(tmp_path / "val", n=2)
    classes = ("cat", "dog")
    assert load_images(tmp_path, classes, image_size=8).split == "validation"
    assert len(load_images(tmp_path, classes, image_size=8, split="train")) == 10
    with pytest.raises(InputError, match="no test split"):
        load_images(tmp_path, classes, image_size=8, split="test")
    fill(tmp_path / "test", n=1)
    assert load_images(tmp_path, classes, image_size=16).pixels.shape == (2, 16, 16, 3)  # type: ignore[union-attr]


def test_load_images_lists_or_skips_what_is_unreadable(tmp_path: Path) -> None:
    fill(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match="3 of 23"):
        load_images(tmp_path, ("cat", "dog"), image_size=8)
    found = load_images(tmp_path, ("cat", "dog"), image_size=8, skip_unreadable=True)
    assert (len(found), len(found.skipped)) == (20, 3)


def test_list_images_in_natural_order(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.PNG", "a/x.jpg", ".hidden.png", ".cache/y.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [file.relative_to(tmp_path).as_posix() for file in list_images(tmp_path)]
    assert found == ["a/x.jpg", "b2.PNG", "b10.png"]
    assert list_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(InputError, match="no such file"):
        list_images(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images"):
        list_images(tmp_path / "empty")
