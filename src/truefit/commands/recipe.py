"""`truefit recipe list` and `truefit recipe show NAME`: recipes as they are, to be read and copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from truefit.commands.arguments import parse
from truefit.errors import InputError
from truefit.recipes.lookup import recipe_names, source_of


@dataclass(frozen=True, kw_only=True)
class RecipeCommand:
    """List the recipes, or show the file of one."""

    what: Annotated[Literal["list", "show"], tyro.conf.Positional] = "list"
    """list: all names, each with its first line. show: the whole file of one."""
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """With show: which."""


def main(arguments: Sequence[str]) -> int:
    """Parse, print."""
    command = parse(RecipeCommand, "recipe", arguments)
    if command.what == "list":
        if command.name is not None:
            raise InputError("list takes no name", found=command.name, fix=f"truefit recipe show {command.name}")
        names = recipe_names()
        for name in names:
            # The docstring's first line says what the recipe is for.
            print(f"{name:<{max(map(len, names))}}  {source_of(name).partition(chr(10))[0].strip(chr(34))}")
        return 0
    if command.name is None:
        raise InputError("no recipe is named", where="truefit recipe show", fix=f"one of {', '.join(recipe_names())}")
    print(source_of(command.name), end="")
    return 0
