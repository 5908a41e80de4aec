"""A recipe by its name. Every module of this package that has `RECIPE` is one."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import truefit.recipes
from truefit.errors import InputError, nearest
from truefit.recipes.recipe import Recipe


def recipe_names() -> list[str]:
    """All known names."""
    helpers = {"auto", "lookup", "recipe"}
    return sorted(info.name for info in pkgutil.iter_modules(truefit.recipes.__path__) if info.name not in helpers)


def find_recipe(name: str) -> Recipe:
    """The named recipe; InputError naming the nearest where there is none."""
    _check(name)
    recipe: Recipe = importlib.import_module(f"truefit.recipes.{name}").RECIPE
    return recipe


def source_of(name: str) -> str:
    """The text of the named recipe's file."""
    _check(name)
    return (Path(truefit.recipes.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")


def _check(name: str) -> None:
    if name not in recipe_names():
        raise InputError(f'no recipe is called "{name}"', where="--recipe", fix=nearest(name, recipe_names()))


def model_of(name: str) -> tuple[str | None, str | None]:
    """The model and the weights that the named recipe is meant for, where it says so by `MODEL` and `WEIGHTS`."""
    module = importlib.import_module(f"truefit.recipes.{name}")
    return getattr(module, "MODEL", None), getattr(module, "WEIGHTS", None)
