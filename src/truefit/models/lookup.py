"""A model by its name. Every module of this package that has `names` and `build` is a family of models."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from torch import nn

import truefit.models
from truefit.errors import InputError, nearest
from truefit.models.pretrained import Pretrained


@cache
def _families() -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(truefit.models.__path__) if info.name != "lookup"]
    # ConvNet first: it is asked for most, and costs no import.
    names.sort(key=lambda name: (name != "convnet", name))
    modules = [importlib.import_module(f"truefit.models.{name}") for name in names]
    return [module for module in modules if hasattr(module, "build")]


def model_names() -> list[str]:
    """All known names."""
    return [name for family in _families() for name in family.names()]


def family_of(name: str) -> ModuleType:
    """The module that builds the named model; InputError naming the nearest where there is none.

    A family with a `PREFIX` has every name that begins so, and says itself which of them it knows.
    """
    for family in _families():
        prefix = getattr(family, "PREFIX", None)
        if name.startswith(prefix) if prefix else name in family.names():
            return family
    raise InputError(f'no model is called "{name}"', where="--model", fix=nearest(name, model_names()))


def build_model(name: str, num_classes: int) -> nn.Module:
    """A freshly initialised model with `num_classes` outputs."""
    model: nn.Module = family_of(name).build(name, num_classes)
    return model


def image_sizes(name: str) -> tuple[int, int, int]:
    """Smallest, usual and largest side of the named model's images, in pixels."""
    sizes: tuple[int, int, int] = family_of(name).image_sizes(name)
    return sizes


def pretrained(name: str) -> Pretrained | None:
    """Where the named model's pretrained weights are, and what images they want; None where there are none."""
    family = family_of(name)
    found: Pretrained | None = family.pretrained(name) if hasattr(family, "pretrained") else None
    return found
