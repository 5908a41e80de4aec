"""truefit runs, truefit runs rm, truefit init."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from truefit.commands.runs import _ORDERS
from truefit.runs.lock import Lock


@pytest.fixture
def two(trained, invoke) -> Path:
    """runs/a with figures, runs/b broken off before it had any."""
    shutil.copytree(trained.folder, "runs/a")
    shutil.copytree(trained.folder, "runs/b")
    Path("runs/b/evaluation.json").unlink()
    return Path("runs")


def test_runs_are_listed_with_figure_interval_and_n(invoke, two, trained):
    evaluation = trained.read("evaluation.json")
    answer = invoke("runs")
    assert answer.code == 0, answer.err
    line = next(line for line in answer.out.splitlines() if line.startswith("runs/a"))
    low, high = evaluation["interval"]
    for words in (f"{100 * evaluation['accuracy']:.1f} %", f"[{100 * low:.1f}, {100 * high:.1f}]", "(test)"):
        assert words in line
    assert "not finished" in answer.out
    # A pipe: no colours, no control characters.
    assert "\x1b" not in answer.out


def test_a_run_is_a_line_in_a_pipe_however_long_its_name(invoke, two):
    long = "runs/" + "photos-of-ants-and-bees-" * 4
    shutil.move("runs/a", long)
    lines = invoke("runs").out.splitlines()
    assert len(lines) == 4  # the head, two runs, how many
    assert any(line.startswith(f"{long} ") and line == line.rstrip() for line in lines)


@pytest.mark.parametrize(("order", "names"), [("name", ["a", "b"]), ("accuracy", ["a", "b"]), ("loss", ["a", "b"])])
def test_runs_are_sorted_with_those_without_figures_last(invoke, two, order, names):
    shutil.move("runs/b", "runs/0") if order != "name" else None
    rows = invoke("runs", "--sort", order, "--json").json["runs"]
    assert [Path(row["run"]).name.replace("0", "b") for row in rows] == names


def test_better_run_comes_first():
    rows = [
        {"run": "a", "accuracy": 0.8, "loss": 0.1, "changed": 1},
        {"run": "b", "accuracy": 0.9, "loss": 0.2, "changed": 3},
        {"run": "c", "accuracy": None, "loss": None, "changed": 2},
    ]
    found = {order: "".join(row["run"] for row in sorted(rows, key=_ORDERS[order])) for order in _ORDERS}
    assert found == {"name": "abc", "accuracy": "bac", "loss": "abc", "date": "bca"}


def test_damaged_run_is_named_and_the_others_listed(invoke, two):
    Path("runs/b/config.json").write_text("{")
    answer = invoke("runs")
    assert answer.code == 0
    assert "runs/a" in answer.out
    assert "unreadable: runs/b" in answer.err


def test_rm_with_yes_removes_the_run_alone(invoke, two):
    answer = invoke("runs", "rm", "runs/b", "--yes")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in two.iterdir()) == ["a"]


def test_rm_asks_and_without_anybody_to_ask_removes_nothing(invoke, two, monkeypatch):
    answer = invoke("runs", "rm", "runs/b")
    assert answer.code == 2
    assert "--yes" in answer.err
    assert (two / "b").is_dir()


@pytest.mark.parametrize("what", ["no run", "foreign file", "link", "file", "nowhere"])
def test_rm_never_removes_what_is_no_run(invoke, two, what):
    place = two / "x"
    if what == "no run":
        place.mkdir()
        (place / "thesis.txt").write_text("mine")
    elif what == "foreign file":
        shutil.copytree("runs/a", place)
        (place / "thesis.txt").write_text("mine")
    elif what == "link":
        place.symlink_to(Path("runs/a").resolve())
    elif what == "file":
        place.write_text("mine")
    before = sorted(two.rglob("*"))
    # Neither it, nor the run that is named before it.
    answer = invoke("runs", "rm", "runs/b", place, "--yes")
    assert answer.code == 2
    assert sorted(two.rglob("*")) == before


def test_rm_speaks_of_removing_and_not_of_an_output_folder(invoke, two, monkeypatch):
    (two / "b" / "thesis.txt").write_text("mine")
    foreign = invoke("runs", "rm", "runs/b", "--yes")
    (two / "b" / "thesis.txt").unlink()
    lock = Lock(two / "b")
    taken = invoke("runs", "rm", "runs/b", "--yes")
    lock.release()
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_: False)
        refused = invoke("runs", "rm", "runs/b", "--yes")

    def fails(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", fails)
    failed = invoke("runs", "rm", "runs/b", "--yes")
    assert [answer.code for answer in (foreign, taken, refused, failed)] == [2, 2, 2, 1]
    for answer, said in (
        (foreign, "fix:    move thesis.txt elsewhere"),
        (taken, "fix:    wait until it has ended"),
        (refused, "fix:    give the right to write there"),
        (failed, "found:  Permission denied"),
    ):
        assert said in answer.err
        assert "--out" not in answer.err
        assert "replaced" not in answer.err
    assert (two / "b" / "config.json").is_file()


def test_init_writes_a_script_that_trains_as_it_is(invoke):
    assert invoke("init", "--epochs", "3").code == 0
    done = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("epoch 1: training loss ")
    assert lines[-1].endswith("n = 360")
    assert float(lines[-1].split()[2].rstrip(",")) > 0.5


def test_init_never_replaces_a_file_unasked(invoke):
    Path("train.py").write_text("mine")
    answer = invoke("init")
    assert answer.code == 2
    assert "--overwrite" in answer.err
    assert Path("train.py").read_text() == "mine"
    assert invoke("init", "--overwrite", "--data", 'a"b\\c').code == 0
    compile(Path("train.py").read_text(), "train.py", "exec")
