"""Decoding in several processes gives what decoding in this one gives, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from truefit.data import batches, cache
from truefit.data.batch import Batches
from truefit.data.batches import make_batches, reading_workers
from truefit.data.cachefile import CacheFile
from truefit.data.images import MixedSizes
from truefit.data.imageset import Data, ImageSet, is_decoded_each_time
from truefit.data.lookup import load_data
from truefit.data.processes import processes
from truefit.errors import InputError, TruefitWarning

SIDE = 12


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(70):
            noise = draw.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, *, several: bool, skip: bool = False) -> Data:
    """Decoded into an empty cache of its own, by several processes or by this one."""
    monkeypatch.setenv("TRUEFIT_CACHE", str(folder.parent / f"several-{several}"))
    monkeypatch.setattr(cache, "PROCESSES_FROM", 1 if several else 10**9)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    return load_data(folder, memory_share=0, skip_unreadable=skip)


def children() -> set[int]:
    """Those of all threads; of one that has only just ended they are passed on to another."""
    lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return {int(child) for child in " ".join(lists).split()}


def test_the_cache_is_the_same(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pictures / "dog" / "7.png").write_bytes(b"not an image")
    (pictures / "cat" / "9.png").write_bytes(b"")
    started: list[int] = []
    popen = subprocess.Popen

    def count(*arguments: object, **options: object) -> object:
        started.append(1)
        return popen(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", count)
    before = children()
    found, wanted = (load(pictures, monkeypatch, several=several, skip=True) for several in (True, False))
    assert len(started) == 2
    assert children() == before
    assert [part.fingerprint() for part in found.splits] == [part.fingerprint() for part in wanted.splits]
    assert sorted(found.skipped) == sorted(wanted.skipped)
    assert len(found.skipped) == 2
    files = [CacheFile(next((pictures.parent / f"several-{several}").iterdir())) for several in (True, False)]
    assert (files[0].rows == files[1].rows).all()
    assert (files[0].pixels == files[1].pixels).all()


def test_images_of_mixed_sizes_are_noticed(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (SIDE + 1, SIDE)).save(pictures / "dog" / "69.png")
    found, wanted = (load(pictures, monkeypatch, several=several) for several in (True, False))
    assert found.train.image_size == wanted.train.image_size == 32
    assert found.train.fingerprint() == wanted.train.fingerprint()


def test_errors_come_back_and_the_process_goes_on() -> None:
    with processes(1) as workers:
        with pytest.raises(ZeroDivisionError):
            workers.call(divmod, 1, 0)
        assert workers.call(divmod, 7, 2) == (3, 1)
        with pytest.raises(MixedSizes, match="two sizes"):
            workers.call(_raise, MixedSizes("two sizes"))


def test_what_is_printed_there_is_no_answer() -> None:
    with processes(1) as workers:
        assert workers.call(print, "hello") is None
        assert workers.call(os.getpid) in children()


def test_a_process_that_dies_is_an_error_and_not_a_wait() -> None:
    before = children()
    with processes(1) as workers:
        os.kill(workers.call(os.getpid), signal.SIGKILL)
        with pytest.raises(OSError, match="has died"):
            workers.call(os.getpid)
    assert children() == before


def test_where_processes_die_images_are_read_from_their_files(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "decode_rows", _die)
    data = load(pictures, monkeypatch, several=True)
    assert data.train.cached is None
    assert any("has died" in note for note in data.notes)
    assert not any(path.name.endswith(".pixels") for path in (pictures.parent / "several-True").iterdir())


def test_unreadable_images_are_refused_as_ever(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pictures / "dog" / "7.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match="1 of 140 images cannot be read"):
        load(pictures, monkeypatch, several=True)


def test_large_folders_that_are_read_in_every_epoch_get_workers(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(pictures, monkeypatch, several=False)
    assert reading_workers(data.train) == 0  # cached
    assert reading_workers(load_data(pictures).train) == 0  # in memory
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    files = load_data(pictures, memory_share=0).train
    assert files.cached is None
    assert reading_workers(files) == 0  # few
    monkeypatch.setattr(batches, "WORKERS_FROM", 10)
    assert reading_workers(files) == 2
    assert reading_workers(Subset(files, [0])) == 0  # somebody else's


@pytest.fixture
def files(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """112 images that are decoded from their files each time."""
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    found = load_data(pictures, memory_share=0).train
    assert is_decoded_each_time(found)
    return found


def batches_of(images: ImageSet, workers: int) -> Batches:
    return make_batches(images, batch_size=10, device=torch.device("cpu"), role="training set", seed=3, workers=workers)


def test_processes_that_read_files_give_the_same_batches(files: ImageSet) -> None:
    here, there = batches_of(files, 0), batches_of(files, 2)
    before = children()
    for epoch, first in ((0, 0), (1, 0), (1, 7)):
        wanted, found = list(here.epoch(epoch, first)), list(there.epoch(epoch, first))
        assert len(wanted) == len(found) == 12 - first
        for one, other in zip(wanted, found, strict=True):
            assert one.images.dtype == other.images.dtype
            assert one.images.stride() == other.images.stride()
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.targets, other.targets)
    readers = children() - before
    assert len(readers) == 2
    assert not any("libtorch" in Path(f"/proc/{reader}/maps").read_text() for reader in readers)
    del there
    assert children() == before


def test_an_epoch_that_is_broken_off_ends_its_processes(files: ImageSet) -> None:
    before = children()
    batches = batches_of(files, 2)
    begun = batches.epoch(0)
    next(begun)
    assert len(children() - before) == 2
    begun.close()
    assert children() == before
    assert sum(len(batch) for batch in batches.epoch(0)) == len(files)


def test_a_file_that_vanishes_is_told_of(files: ImageSet) -> None:
    assert files.paths is not None
    Path(files.paths[5]).unlink()
    with pytest.raises(InputError, match="can no longer be read") as error:
        list(batches_of(files, 2).epoch(0))
    assert files.paths[5] in str(error.value)


def test_where_a_reading_process_dies_this_one_goes_on(files: ImageSet) -> None:
    before = children()
    wanted, batches = list(batches_of(files, 0).epoch(0)), batches_of(files, 1)
    begun = batches.epoch(0)
    found = [next(begun)]
    (reader,) = children() - before
    os.kill(reader, signal.SIGKILL)
    with pytest.warns(TruefitWarning, match="has died") as told:
        found += begun
    assert len(told) == 1
    (other,) = children() - before  # another one has taken its place
    assert other != reader
    assert all(torch.equal(one.images, other.images) for one, other in zip(wanted, found, strict=True))


def test_where_no_process_can_be_started_this_one_reads(files: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = list(batches_of(files, 0).epoch(0))

    def refused(*arguments: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.warns(TruefitWarning, match="no processes can be started"):
        found = list(batches_of(files, 2).epoch(0))
    assert all(torch.equal(one.images, other.images) for one, other in zip(wanted, found, strict=True))


def test_signals_to_all_processes_of_a_job_are_left_to_training() -> None:
    with processes(1) as workers:
        child = workers.call(os.getpid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(child, number)
        assert workers.call(os.getpid) == child


def _raise(error: Exception) -> None:
    raise error


def _die(*arguments: object) -> None:
    os._exit(9)
