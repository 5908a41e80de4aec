"""At a terminal, in a log file, in the shell: colours, widths, completion; with a real pseudo-terminal and shell."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
import warnings
from pathlib import Path

import pytest
import tyro
from fruit import SMALL

from truefit.commands import COMMANDS
from truefit.commands.completion import words_of_commands

TRUEFIT = Path(sys.executable).with_name("truefit")
COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3|4|9|10)[0-7](?:;[0-9;]*)?m|\x1b\[[34]8;")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def at_a_terminal(*words: object, cwd: Path, width: int, **environment: str) -> str:
    """What the command writes to a terminal of so many columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE")
    clean = {name: value for name, value in os.environ.items() if name not in unwanted}
    with subprocess.Popen(
        [TRUEFIT, *map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=clean | {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1"} | environment,
    ) as process:
        os.close(theirs)
        written = b""
        # The end of the terminal is an error on Linux, and no bytes elsewhere.
        while chunk := _read(ours):
            written += chunk
    os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def plain(text: str) -> str:
    """The text without the codes for style."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")


def test_style_at_a_terminal_no_colour_where_none_is_wanted_and_nothing_wider_than_it(trained):
    folder = trained.folder.parent
    styled = at_a_terminal("runs", ".", cwd=folder, width=100)
    assert "\x1b[" in styled
    unstyled = at_a_terminal("runs", ".", cwd=folder, width=40, NO_COLOR="1")
    assert not COLOUR.search(unstyled)
    lines = plain(unstyled).splitlines()
    assert max(map(len, lines)) <= 40
    accuracy = trained.read("evaluation.json")["accuracy"]
    assert f"{100 * accuracy:.1f}" in plain(unstyled)


def test_help_has_no_colour_where_none_is_wanted_and_fits_a_narrow_terminal(tmp_path):
    assert COLOUR.search(at_a_terminal("predict", "--help", cwd=tmp_path, width=100))
    narrow = at_a_terminal("predict", "--help", cwd=tmp_path, width=40, NO_COLOR="1")
    assert not COLOUR.search(narrow)
    # The sentence above the boxes is broken by the terminal, without harm.
    boxes = [line for line in plain(narrow).splitlines() if line.startswith(("╭", "│", "╰"))]
    assert len(boxes) > 20
    assert {len(line) for line in boxes} == {40}


def test_training_at_a_narrow_terminal_draws_its_bar_within_it(fruit, tmp_path):
    shown = at_a_terminal("train", fruit, *SMALL, "--out", "run", cwd=tmp_path, width=40, NO_COLOR="1")
    assert not COLOUR.search(shown)
    drawn = [line for part in shown.split("\r") for line in part.splitlines() if "images/s" in line or "it/s" in line]
    bars = [line for line in re.split(r"[\r\n]", shown) if "%|" in line]
    assert bars or drawn
    assert max(len(plain(line)) for line in bars + drawn) <= 40


def test_log_file_has_no_control_characters(fruit, tmp_path):
    with (tmp_path / "log.txt").open("w") as log:
        words = [TRUEFIT, "train", fruit, *SMALL, "--out", "run"]
        subprocess.run(list(map(str, words)), cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, check=True)
        subprocess.run(
            [TRUEFIT, "predict", "run", fruit], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, check=True
        )
        subprocess.run([TRUEFIT, "runs", "."], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, check=True)
        subprocess.run([TRUEFIT, "train", "--help"], stdout=log, stderr=subprocess.STDOUT, check=True)
    text = (tmp_path / "log.txt").read_text()
    assert "Epoch 2/2" in text
    assert not CONTROL.search(text)


@pytest.fixture(scope="module")
def bash() -> str:
    """The script that is printed for bash."""
    return subprocess.run([TRUEFIT, "completion", "bash"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["tr"], {"train"}),
        (["r"], {"report", "recipe", "runs"}),
        (["doctor", ""], {"data", "explain", "run"}),
        (["doctor", "run", "--st"], {"--steps", "--strict"}),
        (["runs", "rm", "--y"], {"--yes"}),
        (["train", "--optimizer.l"], {"--optimizer.lr", "--optimizer.lookahead", "--optimizer.lookahead-share"}),
        # An option of another command, that the help of train speaks of.
        (["train", "--sur"], set()),
        # Files, which bash completes by itself.
        (["predict", ""], set()),
    ],
)
def test_bash_completes(bash, typed, wanted):
    ask = f'COMP_WORDS=(truefit "${{@}}"); COMP_CWORD={len(typed)}; _truefit; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", bash + ask, "bash", *typed], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert set(done.stdout.split()) == wanted


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_script_is_one_for_the_shell(shell, check, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    script = subprocess.run([TRUEFIT, "completion", shell], capture_output=True, text=True, check=True).stdout
    (tmp_path / "script").write_text(script)
    subprocess.run([shell, *check, tmp_path / "script"], check=True)


def test_completion_knows_every_option_of_every_command(monkeypatch):
    known = words_of_commands()
    assert set(COMMANDS) <= set(known)
    asked = {}

    def note(command, *, prog, args, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asked[prog] = tyro.extras.get_parser(command, prog=prog, **options)
        raise SystemExit(0)

    monkeypatch.setattr(tyro, "cli", note)
    words_of_commands()
    assert len(asked) > 12
    for prog, parser in asked.items():
        options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
        assert set(known[prog.removeprefix("truefit ")][1]) == options, prog
