"""From the words of a command line to a dataclass."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from typing import Any, TypeVar

import tyro

from truefit.errors import InputError, nearest

Command = TypeVar("Command")


def parse(command: type[Command], name: str, words: Sequence[str], **more: Any) -> Command:
    """`truefit NAME WORDS` as a command. Ends the process with 2 on wrong usage, with 0 after --help.

    An unknown option is found first, before the words after it are taken for something else.
    """
    words = list(words)
    before = words[: words.index("--")] if "--" in words else words
    options = {word.partition("=")[0] for word in before if re.match(r"--[A-Za-z]", word)}
    known = _options(command, name, **more) if options - {"--help"} else set()
    for option in sorted(options - {"--help"}):
        if option.replace("_", "-") not in known:
            raise InputError(f'unknown option "{option}"', where=f"truefit {name}", fix=nearest(option, known))
    parsed: Command = tyro.cli(command, prog=f"truefit {name}", args=list(words), **more)
    return parsed


def _options(command: type[Any], name: str, **more: Any) -> set[str]:
    """All options of a command, read off its own help."""
    text = StringIO()
    # Wide enough that no option is broken over two lines.
    with redirect_stdout(text), suppress(SystemExit), _columns("1000"):
        tyro.cli(command, prog=f"truefit {name}", args=["--help"], **more)
    return set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", text.getvalue()))


@contextmanager
def _columns(count: str) -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = count
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
