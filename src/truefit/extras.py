"""Packages that only some uses need: imported when used, and named with their extra where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from truefit.errors import InputError


def needs(extra: str, *modules: str) -> ModuleType:
    """Import these modules of an extra and return the last one. InputError names the extra where one is missing.

    An installed package that fails to import passes its own error on: installing it again would not help.
    """
    found: ModuleType | None = None
    for name in modules:
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or name.partition(".")[0] != error.name.partition(".")[0]:
                raise
            raise InputError(
                f"the package {name.partition('.')[0]} is not installed", fix=f"pip install 'truefit[{extra}]'"
            ) from None
    assert found is not None
    return found
