"""Why was a command line refused? Said as every other error is: what, where, found, wanted, how to fix it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from truefit.errors import InputError, nearest, shorten

# What a value is called in a help.
KINDS = {"INT": "whole number", "FLOAT": "number", "STR": "word", "PATH": "path"}
# Of many words, so many are shown; more options than that are left to the help.
SHOWN, MANY = 5, 25


def misused(name: str, words: Sequence[str], known: set[str]) -> InputError | None:
    """What is wrong with the options among a command's words: one that is not known, a flag that is given a value.

    known: all of them, such as --overwrite and --no-overwrite of a flag.
    """
    for word in words:
        if word == "--":
            break
        given, value, _ = word.partition("=")
        option = given.replace("_", "-")
        if re.match(r"-[A-Za-z]{2}", word) and f"-{option}" in known:
            return InputError(f'unknown option "{given}"', where=f"truefit {name}", fix=f'did you mean "-{option}"?')
        if not re.match(r"--[A-Za-z]|-[A-Za-z]$", word) or word == "-h":
            continue
        if option not in known:
            hint = nearest(given, known)
            if len(known) > MANY and not hint.startswith("did"):
                hint = f"truefit {name} --help lists them"
            return InputError(f'unknown option "{given}"', where=f"truefit {name}", fix=hint)
        group, dot, flag = option[2:].rpartition(".")
        flag = flag.removeprefix("no-")
        yes, no = f"--{group}{dot}{flag}", f"--{group}{dot}no-{flag}"
        if value and {yes, no} <= known:
            return InputError(f"{option} takes no value", where=f"truefit {name}", found=word, wanted=f"{yes} or {no}")
    return None


def explained(message: str, name: str, words: Sequence[str]) -> InputError | None:
    """The error for a refusal by tyro, in lines wide enough that none is broken; None where it is of another kind.

    name: of the command; words: those after it.
    """
    text = "\n".join(line.strip("│╭╮╰╯─ ") for line in message.splitlines())
    for pattern, error in REFUSALS.items():
        if match := re.search(pattern, text, re.DOTALL | re.MULTILINE):
            return error(f"truefit {name}", list(words), *match.groups())
    return None


def _out_of_range(command: str, words: list[str], what: str, details: str) -> InputError:
    """What a dataclass of settings has said itself."""
    return InputError(what, **dict(re.findall(r"^(where|found|wanted|fix): +([^\n]*)", details, re.MULTILINE)))


def _no_choice(command: str, words: list[str], value: str, argument: str, listed: str) -> InputError:
    choices = sorted(set(re.findall(r"'([^']*)'", listed)) - {"None"})
    hint = nearest(value, choices)
    what = f"{argument} can't be this" if argument.startswith("-") else "an unknown word"
    wanted = _either(choices + ["None"] * ("'None'" in listed))
    return InputError(what, where=command, found=value, wanted=wanted, fix=hint if hint.startswith("did") else None)


def _no_value(command: str, words: list[str], option: str, metavar: str) -> InputError:
    several = re.search(r"\[|(?:INT|FLOAT|STR|PATH) (?:INT|FLOAT|STR|PATH)", metavar)
    found = _after(words, option)
    return InputError(
        f"{option} can't be this",
        where=command,
        found=shorten(found if several else found[:1], SHOWN) or "nothing after it",
        wanted=wanted(metavar),
        fix=f"{command} --help describes {option}",
    )


def _nothing(command: str, words: list[str], option: str) -> InputError:
    return InputError(
        f"{option} has no value",
        where=command,
        found=shorten(_after(words, option), SHOWN) or "nothing after it",
        wanted=f"{option} VALUE",
        fix=f"{command} --help describes {option}",
    )


def _too_much(command: str, words: list[str], found: str) -> InputError:
    more = found.split(", ")
    fix = f"./{more[0]}, where a file of this name is meant" if more[0].startswith("-") else "leave it out"
    return InputError(
        "more than the command takes",
        where=command,
        found=shorten(more, SHOWN),
        fix=f"{fix}; {command} --help lists what it takes",
    )


def _missing(command: str, words: list[str], argument: str, description: str) -> InputError:
    return InputError(f"{argument} is missing", where=command, wanted=description, fix=f"{command} --help")


REFUSALS: dict[str, Callable[..., InputError]] = {
    r"Error parsing [\w.]+: ([^\n]*)\n((?:(?:where|found|wanted|fix): [^\n]*\n)+)": _out_of_range,
    r"invalid choice '(.*)' for argument '([^']*)'\. Expected one of \(([^)]*)\)": _no_choice,
    r"Error parsing (--[\w.-]+): .*^Argument helptext:\n--[\w.-]+(?:, --[\w.-]+)* ([^\n]*)": _no_value,
    r"Missing value for argument '(--[\w.-]+)'": _nothing,
    r"Unrecognized options: ([^\n]*)": _too_much,
    r"Missing from [^\n]*:\n([^\n]*)\n(?:([^\n]*) )?\(required\)": _missing,
}


def wanted(metavar: str) -> str:
    """In words what stands in a help for an option's value: `{None}|{FLOAT FLOAT}` is "2 numbers or None"."""
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
