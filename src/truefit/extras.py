"""Packages that only some uses need: imported when used, and named with their extra where they are missing."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from truefit.errors import InputError

# By what each is told, before it is imported, to report nothing of its use to its makers. What is set already stays.
REPORTS_NOTHING = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "WANDB_ERROR_REPORTING": "false",
}


@contextmanager
def reporting_nothing() -> Iterator[None]:
    """Within this OpenVINO is imported, and converts, without telling its makers: it takes the machine for one that
    runs tests, which is the only way to say so without writing into the user's home.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def needs(extra: str, *modules: str) -> ModuleType:
    """Import these modules of an extra and return the last one. InputError names the extra where one is missing.

    An installed package that fails to import passes its own error on: installing it again would not help.
    """
    for name, value in REPORTS_NOTHING.items():
        os.environ.setdefault(name, value)
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
