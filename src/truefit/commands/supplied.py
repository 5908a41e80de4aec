"""`--model package.module:callable`: a network that the user supplies."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from torch import nn

from truefit.errors import InputError


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
        network = getattr(importlib.import_module(module_name), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError("--model can't be imported", found=error, wanted="package.module:callable") from error
    if not isinstance(network, nn.Module):
        raise InputError("--model gives no network", found=type(network).__name__, wanted="a torch.nn.Module")
    return network
