"""`--model package.module:callable`: a network that the user supplies."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import overload

from torch import nn

from truefit.errors import InputError


def is_own(name: str) -> bool:
    """Whether a model's name is package.module:callable, and not one of a family (`timm:resnet18`)."""
    return ":" in name and not name.startswith("timm:")


@overload
def supplied_network(name: str) -> nn.Module: ...
@overload
def supplied_network(name: None) -> None: ...
def supplied_network(name: str | None) -> nn.Module | None:
    """Import and call what the user named on the command line; None where nothing was named.

    Only ever given what stands on the command line: nothing named in a file is imported.
    """
    if name is None:
        return None
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise InputError("--model names no callable", found=name, wanted="package.module:callable")
    # As `python -m` does: modules beside the user are found.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # whatever the user's module raises
        raise InputError(
            "--model can't be imported", where=name, found=repr(error), wanted="package.module:callable"
        ) from error
    try:
        network = make()
    except Exception as error:
        raise InputError(
            "--model raised an error when it was called",
            where=name,
            found=repr(error),
            wanted="a callable that needs no arguments and gives a torch.nn.Module",
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError("--model gives no network", found=type(network).__name__, wanted="a torch.nn.Module")
    return network
