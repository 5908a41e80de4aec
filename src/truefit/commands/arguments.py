"""From the words of a command line to a dataclass."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from typing import Any, TypeVar

import tyro

from truefit.errors import InputError

Command = TypeVar("Command")


def parse(command: type[Command], name: str, words: Sequence[str], **more: Any) -> Command:
    """`truefit NAME WORDS` as a command. Raises InputError on wrong usage; ends the process with 0 after --help.

    An unknown option is found first, before the words after it are taken for something else.
    """
    words = list(words)
    if any(re.match(r"--?[A-Za-z]", word) and word not in ("-h", "--help") for word in words):
        from truefit.commands.refused import misused

        if error := misused(name, words, _options(command, name, **more) | {"--help"}):
            raise error
    # tyro does not know NO_COLOR (no-color.org), but takes a terminal without abilities at its word.
    plain = environment("TERM", "dumb") if os.environ.get("NO_COLOR") else nullcontext()
    refusal = StringIO()
    try:
        with plain, redirect_stderr(refusal):
            parsed: Command = tyro.cli(command, prog=f"truefit {name}", args=words, **more)
    except SystemExit as ended:
        if ended.code:
            raise _refused(command, name, words, **more) or InputError("\n" + refusal.getvalue().rstrip()) from None
        raise
    return parsed


def _refused(command: type[Any], name: str, words: list[str], **more: Any) -> InputError | None:
    """Why tyro does not take these words, where it can be told."""
    from truefit.commands.refused import explained

    text = StringIO()
    # Wide enough that no line is broken.
    with redirect_stderr(text), suppress(SystemExit), environment("COLUMNS", "100000"), environment("TERM", "dumb"):
        tyro.cli(command, prog=f"truefit {name}", args=words, **more)
    return explained(text.getvalue(), name, words)


def options_in(show_help: Callable[[], object]) -> set[str]:
    """The options that a help lists; not those that it only speaks of. show_help: prints it, and may exit."""
    text = StringIO()
    # Wide enough that no option is broken over two lines.
    with redirect_stdout(text), suppress(SystemExit), environment("COLUMNS", "1000"):
        show_help()
    # An option stands at the left of its cell or line, after blanks; one in a sentence has a single blank before it.
    lists = re.findall(r"(?:│ |  )(--?[a-zA-Z][\w.-]*(?:, --?[a-z][\w.-]*)*)", text.getvalue())
    return {option for listed in lists for option in listed.split(", ") if option.startswith("--")}


def _options(command: type[Any], name: str, **more: Any) -> set[str]:
    """All options of a command, read off its own help."""
    return options_in(lambda: tyro.cli(command, prog=f"truefit {name}", args=["--help"], **more))


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
