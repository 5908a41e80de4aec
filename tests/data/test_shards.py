"""Shards: found, split, counted exactly, read at any place, and every way in which one can be broken."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import webdataset
from PIL import Image

from truefit.data.batches import make_batches
from truefit.data.imageset import ImageSet
from truefit.data.lookup import load_data, load_images
from truefit.errors import InputError


def picture(label: int, number: int, side: int = 8) -> bytes:
    """A PNG whose red channel tells the label and whose green and blue ones the number."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (label * 50, number % 256, number // 256)).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, numbers: Sequence[int]) -> Path:
    """A shard as the webdataset package writes it; the label is 0 or 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = webdataset.TarWriter(file)
        for number in numbers:
            writer.write({"__key__": f"{number:06}", "png": picture(number % 2, number), "cls": number % 2})
        writer.close()
    return path


def shards(folder: Path, count: int = 4, each: int = 10, name: str = "pets") -> Path:
    for at in range(count):
        shard(folder / f"{name}-{at:03}.tar", range(at * each, (at + 1) * each))
    return folder


def seen(part: ImageSet | None) -> list[int]:
    """The number of each image, read from its pixels; its label is compared."""
    assert part is not None
    pixels = part.read(range(len(part)))[:, 0, 0].astype(int)
    assert (pixels[:, 0] // 50).tolist() == part.labels.tolist()
    return (pixels[:, 1] + 256 * pixels[:, 2]).tolist()


def refused(spec: object) -> str:
    with pytest.raises(InputError) as caught:
        load_data(str(spec))
    return str(caught.value)


def test_a_folder_of_shards_is_one_data_set(tmp_path: Path) -> None:
    data = load_data(shards(tmp_path / "pets"))
    assert (data.name, data.classes) == ("pets", ("0", "1"))
    assert [len(part) for part in data.splits] == [32, 4, 4]
    assert sorted(number for part in data.splits for number in seen(part)) == list(range(40))
    assert data.train.pixels is None
    again = load_data(data.spec, **data.options)
    assert [part.fingerprint() for part in again.splits] == [part.fingerprint() for part in data.splits]


@pytest.mark.parametrize(
    "pattern", ["pets-{000..002}.tar", "pets-{000,001,002}.tar", "pets-00[0-2].tar", "*-00[012].tar"]
)
def test_patterns(tmp_path: Path, pattern: str) -> None:
    data = load_data(shards(tmp_path / "p") / pattern)
    assert sorted(number for part in data.splits for number in seen(part)) == list(range(30))


@pytest.mark.parametrize("folders", [True, False])
def test_splits_are_told_by_folders_or_by_names(tmp_path: Path, folders: bool) -> None:
    for at, split in enumerate(("train", "val", "test")):
        place = tmp_path / "s" / (f"{split}/a-0.tar" if folders else f"pets-{split}-0.tar")
        shard(place, range(10 * at, 10 * at + 10))
    data = load_data(tmp_path / "s")
    assert [sorted(seen(part)) for part in data.splits] == [list(range(at, at + 10)) for at in (0, 10, 20)]
    assert sorted(seen(load_images(tmp_path / "s", ("0", "1"), image_size=8))) == list(range(20, 30))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_evaluation_counts_each_sample_once_whatever_the_workers(tmp_path: Path, workers: int) -> None:
    whole = load_images(shards(tmp_path / "p", each=7), ("0", "1"), image_size=8)
    batches = make_batches(whole, batch_size=4, device=torch.device("cpu"), role="set", workers=workers)
    found: Counter[int] = Counter()
    stream = batches.epoch(0)
    for batch in stream:
        numbers = (batch.images[:, 1, 0, 0] * 255).round().int()
        assert (numbers % 2).tolist() == batch.targets.tolist()
        found.update(numbers.tolist())
    stream.close()
    assert found == Counter(range(28))
    assert (batches.samples, batches.steps) == (28, 7)


def test_labels_may_be_names_or_json(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file:
        writer = webdataset.TarWriter(file)
        for number in range(20):
            label = {"json": {"label": "cat"}} if number % 2 else {"label": b"dog"}
            writer.write({"__key__": f"deep/{number}", "png": picture(0, number), **label})
        writer.close()
    assert load_data(tmp_path / "a.tar").classes == ("cat", "dog")


def rewritten(path: Path, change: str) -> None:
    """The shard once more, with a fault in its fourth sample."""
    with tarfile.open(path) as archive:
        content = [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    if change == "no label":
        content = [entry for entry in content if entry[0] != "000013.cls"]
    elif change == "no image":
        content = [entry for entry in content if entry[0] != "000013.png"]
    elif change == "two images":
        content.append(("000013.jpg", picture(1, 13)))
    elif change == "empty label":
        content = [(name, b" " if name == "000013.cls" else data) for name, data in content]
    elif change == "broken image":
        content = [(name, b"no image" if name == "000013.png" else data) for name, data in content]
    with tarfile.open(path, "w") as archive:
        for name, data in content:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no label", "000013 (no label)"),
        ("no image", "000013 (no image)"),
        ("two images", "has two images"),
        ("empty label", "a label is empty"),
        ("broken image", "1 of 40 images cannot be read"),
    ],
)
def test_samples_that_are_not_whole_are_named_with_their_shard(tmp_path: Path, change: str, said: str) -> None:
    rewritten(shards(tmp_path / "p") / "pets-001.tar", change)
    text = refused(tmp_path / "p")
    assert said in text
    assert "pets-001.tar" in text
    assert "000013" in text


@pytest.mark.parametrize("keep", [0, 100, 0.3, 0.5, "header", "end"])
def test_a_shard_that_is_cut_short_is_named(tmp_path: Path, keep: float | str) -> None:
    path = shards(tmp_path / "p") / "pets-002.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        fifth = archive.getmembers()[4]
        after = fifth.offset_data + 512
        end = archive.getmembers()[-1].offset_data + 512
    cut = {"header": after, "end": end}.get(str(keep)) or int(float(keep) * (len(whole) if keep < 1 else 1))  # type: ignore[arg-type,operator]
    path.write_bytes(whole[:cut])
    text = refused(tmp_path / "p")
    assert "damaged or cut short" in text
    assert "pets-002.tar" in text


def test_a_shard_that_becomes_shorter_or_goes_during_a_run_is_named(tmp_path: Path) -> None:
    data = load_data(shards(tmp_path / "p"))
    path = tmp_path / "p" / "pets-000.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match="has become shorter") as caught:
        data.train.read(range(len(data.train)))
    assert "pets-000.tar" in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        data.train.read(range(len(data.train)))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("p/pets-{000..005}.tar", "2 shards do not exist"),
        ("p/none-*.tar", "1 shards do not exist"),
        ("p/pets.tar.gz", "compressed shard"),
        ("https://example.org/a-{0..3}.tar", "read from files"),
    ],
)
def test_what_can_not_be_found_is_refused(tmp_path: Path, spec: str, said: str) -> None:
    shards(tmp_path / "p")
    assert said in refused(spec if "://" in spec else tmp_path / spec)


def test_a_folder_of_classes_with_an_archive_beside_them_stays_a_folder(tmp_path: Path) -> None:
    shard(tmp_path / "f" / "backup.tar", range(4))
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "f" / name).mkdir()
        for number in range(10):
            (tmp_path / "f" / name / f"{number}.png").write_bytes(picture(label, number))
    assert load_data(tmp_path / "f").classes == ("cat", "dog")


MEASURE = """
import resource, sys, torch
from truefit.data.batches import make_batches
from truefit.data.lookup import load_images
images = load_images(sys.argv[1], ("0", "1"), image_size=96)
count = 0
for batch in make_batches(images, batch_size=16, device=torch.device("cpu"), role="set").epoch(0):
    count += len(batch)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path) -> None:
    """24 MB of decoded images more, in 8 times as many shards, need less than 6 MB more."""
    content = [picture(number % 2, number, side=96) for number in range(128)]
    peaks = []
    for count in (1, 8):
        for at in range(count):
            path = tmp_path / str(count) / f"{at}.tar"
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                writer = webdataset.TarWriter(file)
                for number, data in enumerate(content):
                    writer.write({"__key__": f"{number:06}", "png": data, "cls": number % 2})
                writer.close()
        words = [sys.executable, "-c", MEASURE, str(tmp_path / str(count))]
        answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        assert int(answer[0]) == 128 * count
        peaks.append(int(answer[1]) * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 6e6
