"""Damaged checkpoints, full disks, folders that others use."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from parts import BrokeOffError, assert_same_run, ended_at, notes, recipe, train
from torch import nn

from truefit import InputError, Recipe, Trainer
from truefit.checkpoint.interval import Interval
from truefit.checkpoint.signals import Signals
from truefit.checkpoint.store import Position, Store
from truefit.errors import DeviceMemoryError, Interrupted, StorageError
from truefit.events import nobody
from truefit.fitting.keeping import Keeping
from truefit.runs.lock import Lock


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that broke off, with two checkpoints."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    ended_at(recipe("muon"), out, 9)
    assert len(Store(out / "checkpoints").files()) == 2
    return out


def test_every_cut_and_every_flipped_bit_is_noticed_and_the_one_before_is_used(stopped: Path) -> None:
    store = Store(stopped / "checkpoints")
    (before, _), (newest, _) = store.files()
    whole = newest.read_bytes()
    draw = random.Random(0)
    damages = [whole[: draw.randrange(len(whole))] for _ in range(50)]
    for _ in range(200):
        place = draw.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        damages.append(bytes(flipped))
    for damage in damages:
        newest.write_bytes(damage)
        found, damaged = store.newest()
        assert found is not None
        assert found.path == before
        assert newest.name in str(damaged[0])
        newest.with_suffix(".damaged").unlink()
    newest.write_bytes(whole)
    assert store.newest()[0].path == newest  # type: ignore[union-attr]


def test_damage_is_named_and_training_goes_on_from_before_it(tmp_path: Path) -> None:
    wanted = train(recipe("muon"))
    ended_at(recipe("muon"), tmp_path, 9)
    newest = Store(tmp_path / "checkpoints").files()[-1][0]
    newest.write_bytes(newest.read_bytes()[:-1])
    said: list[str] = []
    found = train(recipe("muon"), out=tmp_path, resume=True, observers=[notes(said)])
    assert any("passed over" in text and newest.name in text for text in said)
    assert_same_run(found, wanted)


def test_a_pickle_in_place_of_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "epoch-0001-step-000001.checkpoint"
    torch.save({"a": 1}, place)
    found, damaged = Store(tmp_path).newest()
    assert found is None
    assert "can execute code" in str(damaged[0])


def test_a_checkpoint_from_before_a_step_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    """State after such a step is never saved: training would go on as if nothing had happened."""
    from helpers import image_set, tiny_network

    images = image_set(22)
    images.tensors[0][7] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        Trainer(tiny_network(), recipe()).fit(images, image_set(8), out=tmp_path / "run", checkpoint_every="1steps")
    left = Store(tmp_path / "run" / "checkpoints").newest()[0]
    if left is not None:
        assert all(abs(loss) < 100 for loss in left.tensors["/progress/pass/losses"].tolist())


@pytest.mark.parametrize("text", ["60", "0steps", "-1s", "5 minutes", "1.5steps", "", "Never"])
def test_an_interval_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="60s, 500steps, epoch or never"):
        Interval.parse(text)


# Full disks and other hindrances


def test_a_full_disk_leaves_the_last_good_state(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.decode().strip()}")
    try:
        ended_at(recipe("muon"), disk / "run", 5)
        good = {path: path.read_bytes() for path, _ in Store(disk / "run" / "checkpoints").files()}

        def fill(event: object) -> None:
            if type(event).__name__ == "FitStarted":
                (disk / "filling").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))

        with pytest.raises(StorageError, match="No space left"):
            train(recipe("muon"), out=disk / "run", resume=True, observers=[fill])
        assert {path: path.read_bytes() for path, _ in Store(disk / "run" / "checkpoints").files()} == good
        (disk / "filling").unlink()
        assert_same_run(train(recipe("muon"), out=disk / "run", resume=True), train(recipe("muon")))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_out_of_memory_says_what_would_fit(tmp_path: Path) -> None:
    from helpers import image_set

    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(108, 4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 6:
                raise torch.OutOfMemoryError("out of memory")
            return self.layer(images.flatten(1))

    with pytest.raises(DeviceMemoryError) as refused:
        Trainer(Large(), Recipe(epochs=1, batch_size=16)).fit(image_set(32), out=tmp_path / "run")
    assert "16 images at once to fit; 4 do" in str(refused.value)
    assert "--accumulate 4" in str(refused.value)
    assert not (tmp_path / "run").exists()


# Two at once


def test_a_second_run_in_the_folder_is_refused_with_the_firsts_process(tmp_path: Path) -> None:
    holder = "import sys,time;from pathlib import Path;from truefit.runs.lock import Lock;"
    holder += "lock=Lock(Path(sys.argv[1]));print('held',flush=True);time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {other.pid} on .* since 20"):
            train(recipe(), out=tmp_path, resume=True)
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (tmp_path / "lock.json").is_file()
    train(recipe(), out=tmp_path, resume=True)
    assert not (tmp_path / "lock.json").exists()


def test_a_lock_of_a_dead_process_whose_number_another_has_is_recognised(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    mine = json.loads((tmp_path / "lock.json").read_text())
    lock.release()
    (tmp_path / "lock.json").write_text(json.dumps({**mine, "pid": os.getppid(), "process_started": "1"}))
    Lock(tmp_path).release()
    # Where the system knows no locks, the text alone decides.
    parent = Path(f"/proc/{os.getppid()}/stat")
    if parent.exists():
        began = parent.read_text().rpartition(")")[2].split()[19]
        (tmp_path / "lock.json").write_text(json.dumps({**mine, "pid": os.getppid(), "process_started": began}))
        with pytest.raises(InputError, match=f"process {os.getppid()}"):
            Lock(tmp_path)


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_ends(tmp_path: Path, number: signal.Signals) -> None:
    steps = 0

    def send(event: object) -> None:
        nonlocal steps
        steps += type(event).__name__ == "StepFinished"
        if steps == 8:
            steps += 1
            os.kill(os.getpid(), number)

    handlers = [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    said = f"{number.name}: saved; --out {tmp_path} --resume goes on from epoch 2, step 3"
    with pytest.raises(Interrupted, match=re.escape(said)) as ended:
        train(recipe("muon"), out=tmp_path, checkpoint_every="1000s", observers=[send])
    assert ended.value.exit_code == 128 + number
    assert handlers == [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert_same_run(train(recipe("muon"), out=tmp_path, resume=True), train(recipe("muon")))


def test_a_process_that_does_not_write_names_the_folder_too(tmp_path: Path) -> None:
    """Of several that are interrupted, any may be the one that speaks."""
    signals = Signals()
    signals.ends_with = signal.SIGTERM
    keeping = Keeping(place=tmp_path, folder=None, signals=signals)
    saver = keeping.saver(lambda: (Position(1, 2), {}), nobody)
    with pytest.raises(Interrupted, match=re.escape(f"saved; --out {tmp_path} --resume goes on from epoch 2, step 3")):
        saver.end_of_epoch()


def test_a_signal_during_an_evaluation_saves_the_state_after_the_last_step(tmp_path: Path) -> None:
    def send(event: object) -> None:
        if type(event).__name__ == "PassStarted" and event.split == "validation" and event.epoch == 1:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(recipe("muon", ema=True), out=tmp_path, checkpoint_every="1000s", observers=[send])
    assert [path.name for path, _ in Store(tmp_path / "checkpoints").files()][-1] == "epoch-0002-step-000006.checkpoint"
    assert_same_run(train(recipe("muon", ema=True), out=tmp_path, resume=True), train(recipe("muon", ema=True)))


def test_sigusr1_saves_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = tmp_path / "bin" / "scontrol"
    slurm.parent.mkdir()
    slurm.write_text(f"#!/bin/sh\necho $@ > {tmp_path}/asked\n")
    slurm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slurm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    saved: list[list[str]] = []

    def send(event: object) -> None:
        if type(event).__name__ == "StepFinished" and event.step == 2 and event.epoch == 0:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGUSR1)
        elif type(event).__name__ == "Note":
            saved.append([path.name for path, _ in Store(tmp_path / "run" / "checkpoints").files()])

    found = train(recipe("muon"), out=tmp_path / "run", checkpoint_every="1000s", observers=[send], requeue=True)
    assert saved == [["epoch-0001-step-000003.checkpoint"]]
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert_same_run(found, train(recipe("muon")))


def test_no_thread_is_left(tmp_path: Path) -> None:
    before = threading.active_count()
    train(recipe(), out=tmp_path / "run")
    with pytest.raises(BrokeOffError):
        train(recipe(), out=tmp_path / "other", stop_after=5)
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_folder_among_the_checkpoints_is_left_alone(tmp_path):
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    (tmp_path / "checkpoints" / "old.damaged").write_bytes(b"x")
    Store(tmp_path / "checkpoints").trim(0)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["mine"]
