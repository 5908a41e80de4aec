"""What the loop must know of a network beforehand."""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

# How many training images a network that begins with what they are like is shown.
INITIAL_IMAGES = 5_000


@runtime_checkable
class FromImages(Protocol):
    """A network some of whose first weights are computed from training images."""

    def initialise_from(self, images: Tensor) -> None:
        """Set them. images: (N, C, H, W) float32, normalised, N up to INITIAL_IMAGES. Draws no random number."""


def wants_channels_last(network: nn.Module) -> bool:
    """Whether images for a network that is taken as it is should lie in channels_last: for truefit's own networks,
    which are fastest so, and for one whose filters lie so.
    """
    if type(network).__module__.partition(".")[0] == "truefit":
        return True
    filters = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2:] != (1, 1)]
    lie_so = bool(filters) and all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)
    return lie_so and takes_channels_last(network)


def takes_channels_last(network: nn.Module) -> bool:
    """Whether no code of the network's own calls `view`, which fails on what convolutions give in channels_last.

    Looked at is what its classes' methods name, and the functions of their files that these name.
    """
    seen: set[CodeType] = set()
    for module in network.modules():
        if isinstance(module, torch.jit.ScriptModule):
            return False  # its code can't be looked at
        members = list(vars(module).values())
        for kind in type(module).__mro__:
            if kind.__module__.partition(".")[0] not in ("torch", "truefit", "builtins"):
                members += vars(kind).values()
        # Static methods, class methods, properties and decorated functions hold theirs.
        inner = [getattr(member, name, None) for member in members for name in ("__func__", "fget", "__wrapped__")]
        functions = [member for member in (*members, *inner) if isinstance(member, FunctionType)]
        if any(_names_view(function.__code__, function.__globals__, seen) for function in functions):
            return False
    return True


def _names_view(code: CodeType, place: dict[str, Any], seen: set[CodeType]) -> bool:
    if code in seen:
        return False
    seen.add(code)
    if "view" in code.co_names:
        return True
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    for name in code.co_names:
        member = place.get(name)
        if isinstance(member, FunctionType) and member.__module__ == place.get("__name__"):
            inner.append(member.__code__)
    return any(_names_view(part, place, seen) for part in inner)


def floating_type(network: nn.Module) -> str:
    """The name of the floating type that the network's first parameter has, such as "float32"."""
    found = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    return str(found).removeprefix("torch.")


def has_batchnorm(network: nn.Module) -> bool:
    """Whether any module needs more than one value a channel in train mode."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
