"""Why was a command line refused? Said as every other error is: what, where, found, wanted, how to fix it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from truefit.errors import InputError, nearest

# What a value looks like in a help, and how many words it takes.
KINDS = {"INT": "whole number", "FLOAT": "number", "STR": "word", "PATH": "path"}


def explained(message: str, name: str, words: Sequence[str]) -> InputError | None:
    """The error for a refusal by tyro, in lines wide enough that none is broken; None where it is of another kind.

    name: of the command; words: those after it.
    """
    text = "\n".join(line.strip("│╭╮╰╯─ ") for line in message.splitlines())
    for pattern, error in REFUSALS.items():
        if match := re.search(pattern, text, re.DOTALL | re.MULTILINE):
            return error(f"truefit {name}", list(words), *match.groups())
    return None


def _no_choice(command: str, words: list[str], value: str, option: str, listed: str) -> InputError:
    choices = sorted(set(re.findall(r"'([^']*)'", listed)) - {"None"})
    hint = nearest(value, choices)
    fix = hint if hint.startswith("did") else None
    return InputError(f"{option} can't be this", where=command, found=value, wanted=_either(choices), fix=fix)


def _no_value(command: str, words: list[str], option: str, metavar: str) -> InputError:
    return InputError(
        f"{option} can't be this",
        where=command,
        found=" ".join(_after(words, option)) or "nothing after it",
        wanted=wanted(metavar),
        fix=f"{command} --help describes {option}",
    )


def _nothing(command: str, words: list[str], option: str) -> InputError:
    return InputError(
        f"{option} has no value",
        where=command,
        found="nothing after it",
        wanted=f"{option} VALUE",
        fix=f"{command} --help describes {option}",
    )


def _too_much(command: str, words: list[str], found: str) -> InputError:
    return InputError(
        "more than the command takes",
        where=command,
        found=found,
        fix=f"leave it out; {command} --help lists what it takes",
    )


def _missing(command: str, words: list[str], argument: str, description: str) -> InputError:
    return InputError(f"{argument} is missing", where=command, wanted=description, fix=f"{command} --help")


REFUSALS: dict[str, Callable[..., InputError]] = {
    r"invalid choice '(.*)' for argument '([^']*)'\. Expected one of \(([^)]*)\)": _no_choice,
    r"Error parsing (--[\w.-]+): .*^Argument helptext:\n--[\w.-]+(?:, --[\w.-]+)* ([^\n]*)": _no_value,
    r"Missing value for argument '([^']*)'": _nothing,
    r"Unrecognized options: ([^\n]*)": _too_much,
    r"Missing from [^\n]*:\n([^\n]*)\n(?:([^\n]*) )?\(required\)": _missing,
}


def wanted(metavar: str) -> str:
    """In words what stands in a help for an option's value: `{None}|{FLOAT FLOAT}` is "2 numbers, or None"."""
    parts = []
    for part in metavar.split("|"):
        inner = part.strip("{}")
        kinds = re.findall("|".join(KINDS), inner)
        if inner.startswith("["):
            parts.append(f"any number of {KINDS[kinds[0]]}s" if kinds else inner)
        elif kinds:
            parts.append(f"a {KINDS[kinds[0]]}" if len(kinds) == 1 else f"{len(kinds)} {KINDS[kinds[0]]}s")
        else:
            parts += inner.split(",")
    return _either([part for part in parts if part != "None"] + ["None"] * ("None" in parts))


def _either(choices: Sequence[str]) -> str:
    return ", ".join(choices[:-1]) + (" or " if len(choices) > 1 else "") + choices[-1]


def _after(words: list[str], option: str) -> list[str]:
    """The words given to an option, by `--option WORDS` or `--option=WORD`; the last time where there are more."""
    given: list[str] = []
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") != option:
            continue
        rest = words[at + 1 :]
        ends = next((n for n, later in enumerate(rest) if later.startswith("--")), len(rest))
        given = [value] if equals else rest[:ends]
    return given
