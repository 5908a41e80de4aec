"""`truefit doctor WORD ...`: finds silent bugs. Each WORD is a file of this folder with `main(arguments)`."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from truefit.errors import InputError, nearest


def main(arguments: Sequence[str]) -> int:
    """Find the word's file and hand over."""
    known = sorted(info.name for info in pkgutil.iter_modules(__path__))
    words = list(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(known))
        return 0
    if words[0] not in known:
        raise InputError(f'unknown word "{words[0]}"', where="truefit doctor", fix=nearest(words[0], known))
    code: int = importlib.import_module(f"{__name__}.{words[0]}").main(words[1:])
    return code


def _overview(known: list[str]) -> str:
    lines = ["usage: truefit doctor WORD [...]", "", "Finds silent bugs in training code and in data.", ""]
    for name in known:
        # The first line of each file tells; nothing is imported for an overview.
        source = Path(__path__[0], f"{name}.py").read_text(encoding="utf-8")
        about = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].partition(": ")[2]
        lines.append(f"  {name:<8} {about}")
    lines += ["", "exit codes: 3 where a check fails, else those of the script; 2 wrong usage or input"]
    return "\n".join(lines)
