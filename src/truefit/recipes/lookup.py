"""A recipe by its name. Every module of this package that has `RECIPE` is one."""

from __future__ import annotations

import importlib
import pkgutil

import truefit.recipes
from truefit.errors import InputError, nearest
from truefit.recipes.recipe import Recipe


def recipe_names() -> list[str]:
    """All known names."""
    helpers = {"lookup", "recipe"}
    return sorted(info.name for info in pkgutil.iter_modules(truefit.recipes.__path__) if info.name not in helpers)


def find_recipe(name: str) -> Recipe:
    """The named recipe; InputError naming the nearest where there is none."""
    if name not in recipe_names():
        raise InputError(f'no recipe is called "{name}"', where="--recipe", fix=nearest(name, recipe_names()))
    recipe: Recipe = importlib.import_module(f"truefit.recipes.{name}").RECIPE
    return recipe


def model_of(name: str) -> tuple[str | None, str | None]:
    """The model and the weights that the named recipe is meant for, where it says so by `MODEL` and `WEIGHTS`."""
    module = importlib.import_module(f"truefit.recipes.{name}")
    return getattr(module, "MODEL", None), getattr(module, "WEIGHTS", None)
