"""Several processes as the command starts them: killed, ended, gone on with in another number, failing in one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from truefit.commands import main

HERE = Path(__file__).parent
TRUEFIT, TORCHRUN = (Path(sys.executable).with_name(name) for name in ("truefit", "torchrun"))
WORDS = ["train", "digits", "--model", "nets:small", "--device", "cpu", "--epochs", "4", "--batch-size", "16"]
WORDS += ["--checkpoint-every", "5steps", "--no-report", "--resume"]


def start(*words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    return subprocess.Popen(
        list(map(str, words)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=200)
    return process.returncode, out


def wait_for_a_checkpoint(run: Path, process: subprocess.Popen[str]) -> None:
    while not any((run / "checkpoints").glob("*.checkpoint")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def worker(rank: int, folder: Path) -> int:
    """The process with this rank that works for the run in `folder`."""
    for place in Path("/proc").iterdir():
        try:
            words, values = (place / "cmdline").read_bytes(), (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"RANK={rank}".encode() in values and str(folder).encode() in words.split(b"\0"):
            return int(place.name)
    raise AssertionError("no such process")


def history(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    code, out = ended(start(TRUEFIT, *WORDS, "--nproc", 2, "--out", run))
    assert code == 0, out
    assert out.count("Epoch 1/4") == 1  # the first process alone prints
    assert json.loads((run / "config.json").read_text())["hardware"]["processes"] == 2
    return run


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the second process in /proc")
def test_training_goes_on_to_the_same_end_after_a_worker_is_killed(tmp_path, undisturbed):
    run = tmp_path / "run"
    elastic = [TORCHRUN, "--standalone", "--nproc-per-node", 2, "--max-restarts", 1, "-m", "truefit"]
    process = start(*elastic, *WORDS, "--out", run)
    wait_for_a_checkpoint(run, process)
    os.kill(worker(1, run), signal.SIGKILL)
    code, out = ended(process)
    assert code == 0, out
    assert "going on from" in out
    assert history(run) == history(undisturbed)
    weights, wanted = (load_file(one / "model" / "weights.safetensors") for one in (run, undisturbed))
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    assert (run / "evaluation.json").read_bytes() == (undisturbed / "evaluation.json").read_bytes()


def test_two_agents_as_on_two_machines_give_the_same_run(tmp_path, undisturbed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", "two", "--local-addr", "127.0.0.1"]
    agent = [TORCHRUN, "--nnodes", 2, "--nproc-per-node", 1, *meeting, "-m", "truefit"]
    agents = [start(*agent, *WORDS, "--out", tmp_path / "run") for _ in range(2)]
    codes, said = zip(*map(ended, agents), strict=True)
    assert codes == (0, 0), said
    assert "".join(said).count("Epoch 1/4") == 1
    assert history(tmp_path / "run") == history(undisturbed)
    found, wanted = ((run / "evaluation.json").read_bytes() for run in (tmp_path / "run", undisturbed))
    assert found == wanted


def test_state_of_two_processes_is_gone_on_with_in_one(tmp_path, monkeypatch, capfd, undisturbed):
    run = tmp_path / "run"
    process = start(TRUEFIT, *WORDS, "--nproc", 2, "--out", run)
    wait_for_a_checkpoint(run, process)
    process.send_signal(signal.SIGTERM)
    code, out = ended(process)
    assert code == 143, out
    assert out.count(f"interrupted by SIGTERM: saved; --out {run} --resume goes on from") == 1
    before = len(history(run)) if (run / "history.jsonl").exists() else 0
    monkeypatch.syspath_prepend(HERE)
    assert main([*WORDS, "--out", str(run)]) == 0
    said = capfd.readouterr().out
    assert "going on from" in said and "1 processes instead of 2" in said
    assert before < len(history(run)) == 4
    # Dropout draws other numbers from there on; all else is the same.
    found, wanted = history(run), history(undisturbed)
    assert found[:before] == wanted[:before]
    for one, other in zip(found, wanted, strict=True):
        assert one["lr"] == other["lr"]
        assert one["training_loss"] == pytest.approx(other["training_loss"], abs=0.1)


def test_state_of_one_process_is_gone_on_with_in_two(tmp_path, undisturbed):
    run = tmp_path / "run"
    process = start(TRUEFIT, *WORDS, "--out", run)
    wait_for_a_checkpoint(run, process)
    process.send_signal(signal.SIGTERM)
    code, out = ended(process)
    assert code == 143, out
    before = len(history(run)) if (run / "history.jsonl").exists() else 0
    code, out = ended(start(TRUEFIT, *WORDS, "--nproc", 2, "--out", run))
    assert code == 0, out
    assert out.count("going on from") == 1 and "2 processes instead of 1" in out
    assert before < len(history(run)) == 4
    for one, other in zip(history(run), history(undisturbed), strict=True):
        assert one["lr"] == other["lr"]
        assert one["training_loss"] == pytest.approx(other["training_loss"], abs=0.1)


def test_error_of_one_process_is_shown_first_and_ends_all(tmp_path):
    words = [word.replace("small", "failing") for word in WORDS]
    code, out = ended(start(TRUEFIT, *words, "--nproc", 2, "--out", tmp_path / "run"))
    assert code == 1
    assert out.count("Traceback") == 1
    assert "ZeroDivisionError: this network fails in the second process" in out
    assert "another process" not in out
    assert not (tmp_path / "run").exists()


def test_mistake_that_all_processes_find_is_said_once(tmp_path):
    code, out = ended(start(TRUEFIT, "train", tmp_path / "nothing", "--device", "cpu", "--nproc", 2))
    assert code == 2
    assert out.count("error:") == 1


@pytest.mark.parametrize("words", [["--seeds", "2"], ["--folds", "3"], ["--learning-curve"], ["--dry-run"]])
def test_what_one_process_does_is_refused(words, capfd):
    assert main(["train", "digits", "--nproc", "2", *words]) == 2
    assert f"{words[0]} works in one process" in capfd.readouterr().err


def test_number_of_processes_must_be_one(capfd):
    assert main(["train", "digits", "--nproc", "0"]) == 2
    assert "nproc" in capfd.readouterr().err
