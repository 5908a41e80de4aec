"""truefit, truefit --help, --version, and what is neither."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from fruit import SMALL

from truefit.commands import COMMANDS


def test_truefit_alone_greets_with_three_things(invoke):
    answer = invoke()
    assert (answer.code, answer.err) == (0, "")
    commands = [line.split()[1] for line in answer.out.splitlines() if line.startswith("  truefit ")]
    assert commands == ["train", "predict", "doctor"]
    assert "truefit --help" in answer.out


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",)])
def test_help_lists_commands_and_exit_codes(invoke, words):
    answer = invoke(*words)
    assert answer.code == 0
    assert answer.err == ""
    for word in ("train", "evaluate", "predict", "--version", "exit codes: 0 done, 1 failed, 2 wrong usage or input"):
        assert word in answer.out


def test_version(invoke):
    answer = invoke("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"truefit {version('truefit')}\n", "")


def test_unknown_command_names_the_nearest(invoke):
    answer = invoke("trian")
    assert answer.code == 2
    assert answer.out == ""
    assert 'unknown command "trian"' in answer.err
    assert 'did you mean "train"?' in answer.err


def test_unknown_command_unlike_any_lists_all(invoke):
    answer = invoke("xyzzy")
    assert answer.code == 2
    assert ", ".join(sorted(COMMANDS)) in answer.err


def test_unknown_option_of_the_command_itself_names_the_nearest(invoke):
    answer = invoke("--versoin")
    assert answer.code == 2
    assert 'unknown option "--versoin"' in answer.err
    assert "--version" in answer.err.replace("--versoin", "")


TRUEFIT = Path(sys.executable).with_name("truefit")
FLAT = [
    *("--model", "--epochs", "--batch-size", "--lr", "--optimizer", "--schedule", "--seed", "--split-seed", "--device"),
    *("--image-size", "--out", "--val-fraction", "--measure-training", "--config", "--print-config", "--dry-run"),
    *("--json", "--quiet", "--skip-unreadable", "--report", "--no-report"),
]
FLAGS = {
    "train": FLAT,
    "evaluate": ["--split", "--name", "--model", "--device", "--skip-unreadable", "--json", "--quiet"],
    "export": ["--to", "--out", "--data", "--split", "--tolerance", "--max-drop", "--overwrite", "--json", "--quiet"],
    "tune": ["--out", "--trials", "--model", "--recipe", "--epochs", "--lr", "--seed", "--device", "--json"],
    "find-lr": ["--model", "--recipe", "--optimizer", "--batch-size", "--steps", "--seed", "--out", "--json"],
    "predict": ["--top", "--threads", "--csv", "--sure", "--model", "--device", "--json"],
}


@pytest.mark.parametrize("name", FLAGS)
def test_help_of_each_command_names_its_flags(invoke, name):
    answer = invoke(name, "--help")
    assert answer.code == 0
    words = set(answer.out.replace("│", " ").replace(",", " ").split())
    missing = [flag for flag in FLAGS[name] if flag not in words]
    assert not missing


@pytest.mark.parametrize("name", FLAGS)
def test_unknown_flag_of_each_command_ends_with_2(invoke, name):
    answer = invoke(name, "x", *(["y"] if name == "predict" else []), "--modell", "x")
    assert answer.code == 2
    assert "--modell" in answer.err
    assert "--model" in answer.err.replace("--modell", "")


def test_help_and_print_config_do_not_import_torch():
    code = """
import contextlib, io, sys
from truefit.commands import main
for words in (["--help"], ["--version"], ["train", "--help"], ["evaluate", "--help"], ["predict", "--help"],
              ["cache", "--help"], ["train", "--print-config"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(words)
    print(" ".join(words), [name for name in ("torch", "torchvision", "sklearn", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert all(line.endswith(" []") for line in lines), done.stdout


def test_help_takes_less_than_half_a_second():
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([TRUEFIT, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < 0.5


def test_a_reader_that_leaves_early_gets_no_traceback(trained, fruit):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [TRUEFIT, "predict", trained.folder, fruit],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("words", [(), ("-h",), ("--version",), ("train", "--help"), ("train", "--print-config")])
def test_a_reader_that_has_gone_before_the_first_word_gets_no_complaint(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([TRUEFIT, *words], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.fixture
def full_disk():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with Path("/dev/full").open("w") as full:
        yield full


@pytest.mark.parametrize("words", [["train", "--print-config"], ["--version"], ["predict"], ["predict", "--json"]])
def test_a_full_disk_behind_stdout_is_one_error_without_a_traceback(trained, fruit, full_disk, words):
    words = [*words, trained.folder, fruit] if words[0] == "predict" else words
    done = subprocess.run([TRUEFIT, *words], stdout=full_disk, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: the output can't be written\n  where:  standard output\n  found:  No space left on device\n"
    )


@pytest.mark.parametrize("more", [["--json", "--quiet"], []])
def test_a_run_is_whole_and_named_where_what_is_said_of_it_finds_no_room(fruit, full_disk, tmp_path, more):
    words = ["train", fruit, *SMALL, "--epochs", "1", "--out", "run", *more]
    done = subprocess.run(
        [TRUEFIT, *words], cwd=tmp_path, stdout=full_disk, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the output can't be written\n  where:  standard output\n")
    assert "Traceback" not in done.stderr
    # What is said while it trains ends it; what is said afterwards is too late for that.
    assert (tmp_path / "run" / "evaluation.json").is_file() == bool(more)
    assert ("the run is whole: run" in done.stderr) == bool(more)
