"""The command `truefit`: finds the subcommand, runs it, and turns errors into exit codes.

To add a command: a file here with `main(arguments) -> exit code`, and its line in COMMANDS.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from truefit import dist
from truefit.commands.streams import let_go, no_room_told
from truefit.errors import InputError, TruefitError, nearest

COMMANDS = {
    "train": "train a classifier on a data set or a folder of images",
    "evaluate": "measure a run, on its own data or on another folder",
    "compare": "tell whether one run is better than another, on the same samples",
    "predict": "classify images with a run",
    "report": "a run as one page, a model card or plots; several runs side by side",
    "calibrate": "make a run's confidence believable, and fix thresholds for predict --sure",
    "export": "a run as one file for another runtime, with the proof that it gives the same answers",
    "find-lr": "suggest a learning rate: a range test of a few seconds, with its plot",
    "tune": "search better settings on validation; goes on where it was broken off",
    "doctor": "find silent bugs in training scripts and data: doctor run, doctor data, doctor explain",
    "recipe": "list the recipes, or show the file of one",
    "serve": "classify images over HTTP, with limits, batching and metrics",
    "demo": "try a run in the browser: a picture in, its classes out",
    "runs": "list runs with their figures, or remove some",
    "init": "write a small training script of your own to begin from",
    "completion": "let the shell complete commands and options: bash, zsh, fish",
    "cache": "list or remove decoded images that are kept on disk",
}

# What several processes that torchrun started do together.
SHARED = ("train", "evaluate")

GREETING = """\
truefit trains image classifiers in PyTorch, and lets you trust the number that comes out.

  truefit train path/to/images            a classifier from a folder of images (without a folder: digits)
  truefit predict runs/NAME photo.jpg     what a trained classifier says of your pictures
  truefit doctor run my_script.py         what is silently wrong with your own training script

truefit --help lists all commands."""

EXIT_CODES = (
    "exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 a check of the doctor failed,\n"
    "            130 interrupted, 143 terminated"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `truefit ARGUMENTS` and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A file name need not be text; printing it must not end the command.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with no_room_told():
            return _run(words)
    except TruefitError as error:
        if dist.may_tell_error(error):
            print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt as stop:
        if dist.may_tell_error(stop):
            print(str(stop) or "interrupted", file=sys.stderr)
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:
        # The reader of a pipe has gone.
        return 1
    except Exception as error:
        if dist.may_tell_error(error):
            raise
        return 1
    finally:
        let_go()


def _run(words: list[str]) -> int:
    """What the words ask for; its exit code."""
    if not words:
        print(GREETING)
        return 0
    if words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        import truefit

        print(f"truefit {truefit.__version__}")
        return 0
    if words[0] not in COMMANDS:
        what = "option" if words[0].startswith("-") else "command"
        print(
            f'error: unknown {what} "{words[0]}"\n  fix:    {nearest(words[0], [*COMMANDS, "--help", "--version"])}',
            file=sys.stderr,
        )
        return 2
    if dist.started_together() > 1 and words[0] not in SHARED:
        raise InputError(
            f"truefit {words[0]} works in one process",
            found=f"{dist.started_together()} processes",
            wanted=f"truefit {' or '.join(SHARED)}, which share the work",
            fix="start it without torchrun",
        )
    code: int = importlib.import_module(f"truefit.commands.{words[0].replace('-', '_')}").main(words[1:])
    return code


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: truefit COMMAND [...]",
            "",
            "Trains, validates and measures image classifiers in PyTorch.",
            "",
            *lines,
            "",
            "truefit COMMAND --help tells more; truefit --version prints the version.",
            EXIT_CODES,
        ]
    )
