"""Tables of images: which columns, which splits, groups, several labels, and every kind of bad row."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from truefit.data.columns import Columns
from truefit.data.imageset import Data, ImageSet
from truefit.data.lookup import load_data, load_images
from truefit.errors import InputError

Row = dict[str, object]


def picture(folder: Path, label: int, number: int) -> str:
    """A PNG whose red channel tells the label and whose green one the number; returns its name."""
    name = f"{label}-{number:02}.png"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), (label * 50, number, 7)).save(folder / name)
    return f"{folder.name}/{name}"


def rows(folder: Path, n: int = 20, classes: tuple[str, ...] = ("cat", "dog")) -> list[Row]:
    """n pictures of each class in `folder`/pictures, and their rows."""
    return [
        {"file": picture(folder / "pictures", label, number), "label": name}
        for label, name in enumerate(classes)
        for number in range(n)
    ]


def table(path: Path, content: list[Row], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(content[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(content)
    return path


def seen(part: ImageSet | None) -> list[tuple[int, int]]:
    """(label, number) of each image, read from its pixels."""
    assert part is not None
    return [(int(pixel[0]) // 50, int(pixel[1])) for pixel in part.read(range(len(part)))[:, 0, 0]]


def everything(data: Data) -> list[tuple[int, int]]:
    return [number for part in data.splits for number in seen(part)]


def refused(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load_data(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_table_of_paths_and_classes_is_split_like_a_folder(tmp_path: Path) -> None:
    data = load_data(table(tmp_path / "My pets.csv", rows(tmp_path)))
    assert (data.name, data.classes) == ("My-pets", ("cat", "dog"))
    assert [part.counts().tolist() for part in data.splits] == [[16, 16], [2, 2], [2, 2]]
    assert len(set(everything(data))) == 40
    for part in data.splits:
        assert [label for label, _ in seen(part)] == part.labels.tolist()
    again = load_data(data.spec, **data.options)
    assert [part.fingerprint() for part in again.splits] == [part.fingerprint() for part in data.splits]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".tsv", "\t"), (".csv", ";")])
def test_other_delimiters(tmp_path: Path, suffix: str, delimiter: str) -> None:
    data = load_data(table(tmp_path / f"pets{suffix}", rows(tmp_path), delimiter))
    assert len(everything(data)) == 40


def test_numbers_as_classes_are_sorted_by_their_value(tmp_path: Path) -> None:
    content = rows(tmp_path, classes=("2", "10", "1"))
    assert load_data(table(tmp_path / "n.csv", content)).classes == ("1", "2", "10")


def test_a_split_column_decides(tmp_path: Path) -> None:
    content = rows(tmp_path)
    for number, row in enumerate(content):
        row["split"] = ("train", "train", "Val", "test")[number % 4]
    data = load_data(table(tmp_path / "pets.csv", content))
    assert data.drawn == ()
    assert [len(part) for part in data.splits] == [20, 10, 10]
    assert [number % 4 for _, number in seen(data.test)] == [3] * 10
    without = load_data(table(tmp_path / "pets.csv", content), val_fraction=0)
    assert without.validation is None
    assert len(without.train) == 20


def test_columns_can_be_named(tmp_path: Path) -> None:
    content = [{"a": row["file"], "b": row["label"], "file": "none", "label": ""} for row in rows(tmp_path)]
    path = table(tmp_path / "pets.csv", content)
    data = load_data(path, columns=Columns(image="a", label=("b",)))
    assert len(everything(data)) == 40
    assert len(everything(load_data(path, **data.options))) == 40
    assert 'did you mean "label"?' in refused(path, columns=Columns(image="a", label=("lable",)))


def test_groups_stay_in_one_split(tmp_path: Path) -> None:
    content = rows(tmp_path)
    for number, row in enumerate(content):
        row["group"] = f"patient {number % 10}"
    data = load_data(table(tmp_path / "pets.csv", content))
    groups = [set(part.groups or ()) for part in data.splits]
    assert all(groups)
    assert sum(map(len, groups)) == 10
    assert set.union(*groups) == {f"patient {number}" for number in range(10)}
    for part in data.splits:
        assert part.groups == tuple(f"patient {(20 * label + number) % 10}" for label, number in seen(part))


def test_groups_stay_in_one_fold(tmp_path: Path) -> None:
    content = rows(tmp_path)
    for number, row in enumerate(content):
        row["group"] = f"patient {number % 10}"
    path = table(tmp_path / "pets.csv", content)
    held = []
    for fold in (1, 2, 3):
        data = load_data(path, fold=fold, folds=3)
        inside = [set(part.groups or ()) for part in data.splits]
        assert sum(map(len, inside)) == len(set.union(*inside))
        held.append(inside[2])
    assert sum(map(len, held)) == len(set.union(*held))


def test_a_group_in_two_given_splits_is_refused(tmp_path: Path) -> None:
    content = rows(tmp_path)
    for number, row in enumerate(content):
        row |= {"group": number % 5, "split": "train" if number % 3 else "test"}
    text = refused(table(tmp_path / "pets.csv", content))
    assert "more than one split" in text
    assert "(train and test)" in text or "(test and train)" in text


def test_several_label_columns_give_several_labels(tmp_path: Path) -> None:
    content = [
        {"file": picture(tmp_path / "pictures", label, number), "red": int(label > 0), "odd": number % 2}
        for label in (0, 1)
        for number in range(20)
    ]
    path = table(tmp_path / "both.csv", content)
    data = load_data(path, columns=Columns(label=("red", "odd")))
    assert data.classes == ("red", "odd")
    assert [len(part) for part in data.splits] == [32, 4, 4]
    for part in data.splits:
        assert part.labels.tolist() == [[label, number % 2] for label, number in seen(part)]
        assert part[0][1] == part.labels[0].tolist()
    assert sum(part.counts() for part in data.splits).tolist() == [20, 20]


@pytest.mark.parametrize("inside", [False, True])
def test_parquet_with_paths_or_with_the_images_themselves(tmp_path: Path, inside: bool) -> None:
    content = rows(tmp_path)
    labels = [row["label"] for row in content]
    images = [
        {"bytes": (tmp_path / str(row["file"])).read_bytes(), "path": None} if inside else row["file"]
        for row in content
    ]
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": labels}), tmp_path / "pets.parquet")
    data = load_data(tmp_path / "pets.parquet")
    assert len(set(everything(data))) == 40
    for part in data.splits:
        assert [label for label, _ in seen(part)] == part.labels.tolist()


def test_images_inside_a_table_that_do_not_fit_in_memory(tmp_path: Path) -> None:
    content = rows(tmp_path)
    images = [(tmp_path / str(row["file"])).read_bytes() for row in content]
    whole = pyarrow.table({"image": images, "label": [row["label"] for row in content]})
    pyarrow.parquet.write_table(whole, tmp_path / "pets.parquet")
    data = load_data(tmp_path / "pets.parquet", memory_share=0.0)
    assert data.train.pixels is None
    held = load_data(tmp_path / "pets.parquet")
    for part, other in zip(data.splits, held.splits, strict=True):
        assert np.array_equal(part.read(range(len(part))), other.read(range(len(other))))
    images[3] = b"not an image"
    broken = pyarrow.table({"image": images, "label": [row["label"] for row in content]})
    pyarrow.parquet.write_table(broken, tmp_path / "broken.parquet")
    text = refused(tmp_path / "broken.parquet")
    assert "1 of 40 images" in text
    assert "row 4" in text
    left = load_data(tmp_path / "broken.parquet", skip_unreadable=True)
    assert len(everything(left)) == 39


def test_a_table_for_evaluation_has_the_classes_of_the_run(tmp_path: Path) -> None:
    path = table(tmp_path / "pets.csv", rows(tmp_path, n=3))
    images = load_images(path, ("dog", "cat", "fox"), image_size=8)
    assert images.split == "test"
    assert images.labels.tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(InputError, match="labels that are not among the classes") as caught:
        load_images(path, ("dog", "fox"), image_size=8)
    assert "'cat'" in str(caught.value)


def test_missing_files_are_listed(tmp_path: Path) -> None:
    content = rows(tmp_path)
    for number in (3, 30):
        (tmp_path / str(content[number]["file"])).unlink()
    text = refused(table(tmp_path / "pets.csv", content))
    assert "2 of 40 files of the table are missing" in text
    for number in (3, 30):
        assert f"{content[number]['file']} (row {number + 1})" in text


def test_labels_that_train_does_not_have_are_listed(tmp_path: Path) -> None:
    content = rows(tmp_path)
    for number, row in enumerate(content):
        row["split"] = "train" if number % 4 else "test"
    content[0]["label"] = "fox"
    text = refused(table(tmp_path / "pets.csv", content))
    assert "'fox'" in text
    assert "cat, dog" in text


def changed(content: list[Row], change: str) -> list[Row]:
    if change == "twice":
        return [*content, content[0]]
    if change == "empty":
        return [{**content[0], "label": " "}, *content[1:]]
    if change == "split":
        return [{**row, "split": "hold-out"} for row in content]
    if change == "flags":
        return [{**row, "odd": 2} for row in content]
    if change == "one class":
        return [{**row, "label": "cat"} for row in content]
    if change == "no train":
        return [{**row, "split": "test"} for row in content]
    return [{"where": row["file"], "label": row["label"]} for row in content]


@pytest.mark.parametrize(
    ("change", "said", "columns"),
    [
        ("twice", "named twice", Columns()),
        ("empty", 'cells of the column "label" are empty', Columns()),
        ("split", "not the name of a split", Columns()),
        ("flags", "something else than 0 and 1", Columns(label=("odd", "label"))),
        ("one class", "only one class", Columns()),
        ("no train", "there is no train split", Columns()),
        ("name", "no column for the image", Columns()),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, change: str, said: str, columns: Columns) -> None:
    assert said in refused(table(tmp_path / "pets.csv", changed(rows(tmp_path), change)), columns=columns)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the table is empty"),
        ("file,label\n", "there are no samples"),
        ("file,label\na.png\n", "a cell for each column"),
        ("file,file,label\na,b,c\n", "the same name"),
        ("path,file,label\na,b,c\n", "several columns might be the image"),
        ("file,label\n\xff", "can't be read"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    assert said in refused(tmp_path / "t.csv")


def test_no_such_table(tmp_path: Path) -> None:
    assert "there is no such table" in refused(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    assert "can't be read" in refused(tmp_path / "bad.parquet")
    (tmp_path / "folder").mkdir()
    assert "only a table has columns" in refused(tmp_path / "folder", columns=Columns(image="a"))
