"""The cache of decoded images: used again, shared, and never stale, torn or damaged without being noticed."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from truefit.data import cache, cachefile
from truefit.data.cache import entries
from truefit.data.cachefile import SUFFIX, UNFINISHED, CacheFile, remove_unfinished
from truefit.data.imageset import Data, ImageSet
from truefit.data.lookup import load_data, load_images
from truefit.errors import InputError

SIDE = 12


def paint(path: Path, number: int, side: int = SIDE) -> None:
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(path, compress_level=0)  # so that files of one size have one length


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes with ten different images each, changed for the last time an hour ago, as far as one can tell."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            paint(tmp_path / "pictures" / name / f"{number}.png", 100 * label + number)
    return tmp_path / "pictures"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, not there yet; images count as settled from the start."""
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "decoded"))
    monkeypatch.setattr(cache, "_SETTLED_NS", -(10**12))
    monkeypatch.setattr(cache, "_CHUNK_IMAGES", 7)  # twenty images are several
    return tmp_path / "decoded"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was decoded into the cache since: the content of each file."""
    seen: list[bytes] = []
    read = cache.read_pixels

    def counted(content: bytes, *how: Any) -> tuple[np.ndarray, tuple[int, int]]:
        seen.append(content)
        return read(content, *how)

    monkeypatch.setattr(cache, "read_pixels", counted)
    return seen


def load(folder: Path, **options: Any) -> Data:
    """As if nothing fitted in memory."""
    return load_data(folder, **{"memory_share": 0, **options})


def pixels(images: ImageSet | None) -> np.ndarray:
    assert images is not None
    return images.read(np.arange(len(images)))


def assert_same(found: Data, wanted: Data) -> None:
    """The same splits, labels, files, pixels and fingerprints."""
    for ours, theirs in zip(found.splits, wanted.splits, strict=True):
        assert (ours.split, ours.paths, ours.skipped) == (theirs.split, theirs.paths, theirs.skipped)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(pixels(ours), pixels(theirs))


def the_file(place: Path) -> Path:
    (path,) = place.iterdir()
    assert path.suffix == SUFFIX
    return path


def test_the_first_run_decodes_and_the_second_reads(pictures: Path, place: Path, decoded: list[bytes]) -> None:
    held = load_data(pictures)
    assert not place.exists(), "what fits in memory does not touch the cache"
    first = load(pictures)
    assert len(decoded) == 20
    assert_same(first, held)
    second = load(pictures)
    assert len(decoded) == 20
    assert_same(second, held)
    assert first.notes == second.notes, "equal runs have equal notes"
    assert any("truefit cache ls" in note for note in first.notes)
    for part, in_memory in zip(second.splits, held.splits, strict=True):
        assert (part.in_memory, part.pixels) == (False, None)
        assert part.fingerprint() == in_memory.fingerprint()
    assert the_file(place).stat().st_size > 20 * SIDE * SIDE * 3


def test_splits_and_subsets_share_the_pixels(pictures: Path, decoded: list[bytes]) -> None:
    data = load(pictures)
    assert data.train.cached is not None
    part = data.train.subset([7, 1, 3])
    assert all(np.shares_memory(s.cached.pixels, data.train.cached.pixels) for s in (*data.splits, part) if s.cached)
    assert part.cached is not None
    np.testing.assert_array_equal(pixels(part), pixels(data.train)[[7, 1, 3]])
    np.testing.assert_array_equal(data.train.read([-1]), pixels(data.train)[-1:])
    assert part.fingerprint() == load_data(pictures).train.subset([7, 1, 3]).fingerprint() != data.train.fingerprint()
    other = load(pictures, split_seed=1)
    assert_same(other, load_data(pictures, split_seed=1))
    assert_same(load(pictures, val_fraction=0), load_data(pictures, val_fraction=0))
    assert len(decoded) == 20, "other splits of the same images use the same file"
    image, label = data.train[2]
    assert torch.equal(image, torch.from_numpy(pixels(data.train)[2]).permute(2, 0, 1))
    assert label == data.train.labels[2]
    with pytest.raises(InputError, match="do not fit"):
        replace(data.train, labels=data.train.labels[:2], paths=None)


def test_torch_takes_the_pixels_without_a_copy_and_writing_never_reaches_the_file(pictures: Path) -> None:
    data = load(pictures)
    assert data.train.cached is not None
    stored = torch.from_numpy(data.train.cached.pixels)  # a warning would be an error
    before = pixels(data.train)
    rows = torch.from_numpy(data.train.cached.rows)
    np.testing.assert_array_equal(stored.index_select(0, rows).numpy(), before)
    stored.zero_()
    assert not pixels(data.train).any()
    np.testing.assert_array_equal(pixels(load(pictures).train), before)


def test_pickled_by_path_and_refused_where_the_file_has_gone(pictures: Path, place: Path) -> None:
    train = load(pictures, image_size=64).train
    packed = pickle.dumps(train)
    assert len(packed) < 20_000 < pixels(train).nbytes
    np.testing.assert_array_equal(pixels(pickle.loads(packed)), pixels(train))
    paint(pictures / "cat" / "3.png", 555)
    load(pictures, image_size=64)
    with pytest.raises(InputError, match="no longer there"):
        pickle.loads(packed)
    the_file(place).unlink()
    with pytest.raises(InputError, match="no longer there"):
        pickle.loads(packed)
    assert pixels(train).any(), "whoever has mapped it keeps it"


def test_settings_have_files_of_their_own(pictures: Path, place: Path, decoded: list[bytes]) -> None:
    paint(pictures / "cat" / "0.png", 1, side=30)
    for options in ({"image_size": 8}, {"image_size": 10}, {"image_size": 8, "resize": "stretch"}):
        assert_same(load(pictures, **options), load_data(pictures, **options))
    assert len(list(place.iterdir())) == 3
    assert len(decoded) == 60


def test_a_set_of_mixed_sizes_is_not_taken_for_one_of_equal_sizes(pictures: Path, place: Path) -> None:
    paint(pictures / "dog" / "9.png", 1, side=30)
    mixed = load(pictures, image_size=SIDE)  # fills the file that equal images of this size would use
    assert mixed.train.image_size == SIDE
    found, wanted = load(pictures, default_image_size=16), load_data(pictures, default_image_size=16)
    assert found.train.image_size == 16
    assert_same(found, wanted)
    assert not list(place.glob(f"*{UNFINISHED}"))


def change_with_its_time_put_back(path: Path) -> None:
    before = path.stat()
    paint(path, 999)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.skipif(sys.platform == "win32", reason="ctime is the time of creation there")
def test_a_changed_image_is_noticed_though_length_and_time_are_the_same(pictures: Path, decoded: list[bytes]) -> None:
    load(pictures)
    time.sleep(0.02)  # more than a tick of the file system's clock
    change_with_its_time_put_back(pictures / "dog" / "4.png")
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 21, "only what changed is decoded"


def test_an_image_that_changes_right_after_it_was_decoded_is_noticed(
    pictures: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file system says: here it says the same of every state of a file."""
    monkeypatch.setattr(cache, "_SETTLED_NS", 2 * 10**9)
    monkeypatch.setattr(cache, "_as_numbers", lambda stat: (stat.st_size, 10**18 * 5, 10**18 * 5, 1))
    load(pictures)
    paint(pictures / "dog" / "4.png", 999)
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 21


def test_touched_moved_back_added_and_removed_images(
    pictures: Path, decoded: list[bytes], place: Path, tmp_path: Path
) -> None:
    load(pictures)
    shutil.copytree(pictures, tmp_path / "copy")  # new inodes, new times
    shutil.rmtree(pictures)
    shutil.copytree(tmp_path / "copy", pictures, copy_function=shutil.copyfile)
    digest = CacheFile(the_file(place)).digest
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 20, "the same content is not decoded again"
    assert CacheFile(the_file(place)).digest != digest, "and noted, so that it need not be read again"
    paint(pictures / "cat" / "new.png", 71)
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 21
    (pictures / "dog" / "5.png").unlink()
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 21
    assert len(entries(place)) == 1


def test_a_folder_with_splits_and_images_to_evaluate_on(pictures: Path, decoded: list[bytes], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for split in ("train", "val", "test"):
        shutil.copytree(pictures, whole / split)
    assert_same(load(whole), load_data(whole))
    assert len(decoded) == 60
    assert_same(load(whole, val_fraction=0), load_data(whole, val_fraction=0))
    assert len(decoded) == 60
    both = [load_images(pictures, ("cat", "dog"), image_size=9, memory_share=share) for share in (0, 0.25)]
    np.testing.assert_array_equal(pixels(both[0]), pixels(both[1]))
    assert both[0].cached is not None
    assert both[0].fingerprint() == both[1].fingerprint()


def test_unreadable_images_are_listed_or_skipped_in_every_run(pictures: Path, decoded: list[bytes]) -> None:
    (pictures / "cat" / "2.png").write_bytes(b"")
    (pictures / "dog" / "3.png").write_text("no image")
    (pictures / "dog" / "4.png").unlink()
    (pictures / "dog" / "4.png").mkdir()  # listed as a folder, so not at all
    with pytest.raises(InputError) as wanted:
        load_data(pictures)
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            load(pictures)
        assert str(caught.value) == str(wanted.value)
    assert len(decoded) == 19
    for _ in range(2):
        assert_same(load(pictures, skip_unreadable=True), load_data(pictures, skip_unreadable=True))
    paint(pictures / "cat" / "2.png", 5)
    with pytest.raises(InputError, match="1 of 19"):
        load(pictures)
    assert len(decoded) == 20
    paint(pictures / "dog" / "3.png", 6)
    assert_same(load(pictures), load_data(pictures))


def test_an_image_that_may_not_be_read_is_tried_again(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = pictures / "cat" / "2.png"
    gone.unlink()
    try:
        gone.symlink_to(pictures / "nowhere.png")
    except OSError as reason:
        pytest.skip(f"no symbolic links here: {reason}")
    for _ in range(2):
        with pytest.raises(InputError, match="No such file"):
            load(pictures)
    paint(pictures / "nowhere.png", 8)
    assert_same(load(pictures), load_data(pictures))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "first pixel": lambda path: flip(path, 0),
    "last pixel": lambda path: flip(path, 20 * SIDE * SIDE * 3 - 1),
    "index": lambda path: flip(path, 20 * SIDE * SIDE * 3 + 100),
    "description": lambda path: flip(path, path.stat().st_size - 100),
    "tail": lambda path: flip(path, path.stat().st_size - 1),
    "length in the tail": lambda path: flip(path, path.stat().st_size - 50),
    "one byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "half": halve,
    "empty": lambda path: path.write_bytes(b"") and None,
    "an image too many": lambda path: path.write_bytes(bytes(SIDE * SIDE * 3) + path.read_bytes()) and None,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)) and None,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_noticed_and_made_good(pictures: Path, place: Path, decoded: list[bytes], how: str) -> None:
    load(pictures)
    whole = the_file(place).read_bytes()
    DAMAGE[how](the_file(place))
    if "pixel" not in how:
        with pytest.raises(cachefile.Damaged):  # without looking at the pixels
            CacheFile(the_file(place))
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 40
    assert the_file(place).read_bytes() == whole


def test_of_a_large_file_a_sample_is_checked_and_damage_is_never_copied(
    pictures: Path, place: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(pictures)
    monkeypatch.setattr(cachefile, "CHECKED_BYTES", 5 * SIDE * SIDE * 3)
    flip(the_file(place), 7 * SIDE * SIDE * 3)
    noticed = 0
    for _ in range(100):
        try:
            CacheFile(the_file(place)).check_pixels()
        except cachefile.Damaged:
            noticed += 1
    assert 5 <= noticed <= 60  # a quarter of the images is looked at, each time other ones
    monkeypatch.setattr(CacheFile, "check_pixels", lambda self: None)
    paint(pictures / "cat" / "new.png", 71)
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 22, "the new one and the damaged one"


def test_another_version_is_not_believed(pictures: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    load(pictures)
    monkeypatch.setattr(cache, "_decoder", lambda: "Pillow 1.0")
    load(pictures)
    assert len(decoded) == 40
    monkeypatch.setattr(cachefile, "FORMAT", 99)
    load(pictures)
    assert len(decoded) == 60


def assert_streamed(data: Data, pictures: Path, reason: str) -> None:
    assert data.train.cached is None
    assert not data.train.in_memory
    assert sum("read from their files in every epoch" in note and reason in note for note in data.notes) == 1
    np.testing.assert_array_equal(pixels(data.train), pixels(load_data(pictures).train))


def test_an_unwritable_place_no_room_and_off(pictures: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(pictures)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=9000))
        assert_streamed(load(pictures), pictures, "not free")
    assert not list(place.iterdir())
    (pictures.parent / "file").write_text("no folder")
    monkeypatch.setenv("TRUEFIT_CACHE", str(pictures.parent / "file" / "decoded"))
    assert_streamed(load(pictures), pictures, "TRUEFIT_CACHE names another folder")
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    assert_streamed(load(pictures), pictures, "off")


def process(code: str, *words: object) -> subprocess.Popen[str]:
    """Python code in a process of its own, without torch; `build(order)` prints a digest of what it got."""
    start = """
import hashlib, sys
from pathlib import Path
from truefit.data import cache
folder = Path(sys.argv[1])
def build(order=1):
    paths = sorted(str(path) for path in folder.rglob("*.png"))[::order]
    found, unreadable = cache.cached_images(folder, paths, size=12, resize="crop", own_size=True)
    everything = found.read(range(len(found)))[::order]
    print(hashlib.md5(everything.tobytes()).hexdigest(), len(unreadable), flush=True)
read = cache.read_pixels
def slow(content, *how):
    print("decoding", flush=True)
    sys.stdin.readline()
    return read(content, *how)
"""
    return subprocess.Popen(
        [sys.executable, "-c", start + code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit there")
def test_a_disk_that_fills_up_while_the_cache_is_written(pictures: Path, place: Path) -> None:
    """The real error of a real write, from a limit of the system on the size of files."""
    child = process("import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\nbuild()", pictures)
    _, err = child.communicate(timeout=60)
    assert "CacheUnusable: File too large" in err
    assert not list(place.iterdir())


def test_a_builder_killed_in_the_middle_leaves_nothing_that_counts(
    pictures: Path, place: Path, decoded: list[bytes]
) -> None:
    for number in range(10, 150):  # more than a chunk, so that pixels are written before the last is decoded
        paint(pictures / "cat" / f"{number}.png", number)
    child = process("cache.read_pixels, cache._CHUNK_IMAGES = slow, 64\nbuild()", pictures)
    assert child.stdin is not None
    assert child.stdout is not None
    for _ in range(130):
        assert child.stdout.readline() == "decoding\n"
        child.stdin.write("\n")
        child.stdin.flush()
    lock, left = sorted(place.iterdir())
    assert (lock.suffix, left.suffix) == (".lock", UNFINISHED)
    assert left.stat().st_size > 0
    assert remove_unfinished(place) == 0, "its maker is alive"
    assert left.exists()
    child.kill()
    child.communicate(timeout=60)
    assert left.exists()
    assert entries(place) == []
    assert_same(load(pictures), load_data(pictures))
    assert len(decoded) == 160
    assert the_file(place).suffix == SUFFIX, "what the dead one left has been cleared away"


def test_two_processes_that_build_at_once(pictures: Path, place: Path) -> None:
    """Each with the images in another order: whichever file stays, both have the right pixels."""
    children = [process(f"cache.read_pixels = slow\nbuild({order})", pictures) for order in (1, -1)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "decoding\n"
    assert len(list(place.glob(f"*{UNFINISHED}"))) == 2, "both are at it"
    paths = sorted(pictures.rglob("*.png"))
    everything = np.stack([np.asarray(Image.open(path)) for path in paths])
    for child in children:
        out, err = child.communicate("\n" * 20, timeout=60)
        assert out.splitlines()[-1] == f"{hashlib.md5(everything.tobytes()).hexdigest()} 0", err
    assert CacheFile(the_file(place)).about["image_size"] == SIDE
    assert_same(load(pictures), load_data(pictures))


def test_entries_are_listed_last_used_first(pictures: Path, place: Path) -> None:
    assert entries(place) == []
    for size in (8, 10):
        load(pictures, image_size=size)
    for path in place.iterdir():
        os.utime(path, (1000, 1000 + path.stat().st_size))
    assert [(e.image_size, e.images, e.folder) for e in entries(place)] == [
        (10, 20, os.path.realpath(pictures)),
        (8, 20, os.path.realpath(pictures)),
    ]
    load(pictures, image_size=8)
    assert [entry.image_size for entry in entries(place)] == [8, 10]
    halve(entries(place)[0].path)
    assert {entry.images for entry in entries(place)} == {None, 20}
