"""The layer of a network that gives the classes, and the stages before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from truefit.errors import InputError

STAGES = 8


def head_of(network: nn.Module, classes: int) -> tuple[str, nn.Linear]:
    """The name of the last linear layer, and the layer. InputError where it does not give the classes."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1][1].out_features != classes:
        found = f"{linear[-1][1].out_features} outputs in {linear[-1][0]}" if linear else "no linear layer"
        raise InputError(
            "the network does not end in a linear layer for the classes",
            where=type(network).__name__,
            found=found,
            wanted=f"a torch.nn.Linear with {classes} outputs at its end",
            fix="train it without a probe: another --recipe",
        )
    return linear[-1]


def zero_head(network: nn.Module, classes: int) -> None:
    """Set the layer that gives the classes to 0: the last one, where it is linear, or that which the network names.

    A convolution at the end is left alone otherwise: where a ReLU follows, as in SqueezeNet, zeros would never learn.
    """
    named = getattr(network, "HEAD", None)
    last = network.get_submodule(named) if named else [one for one in network.modules() if _has_own(one)][-1]
    if (named or isinstance(last, nn.Linear)) and next(iter(last.parameters())).shape[0] == classes:
        for parameter in last.parameters():
            nn.init.zeros_(parameter)


@contextmanager
def headless(network: nn.Module, name: str) -> Iterator[None]:
    """The network without its head: it gives what the head is given, features (N, d). Put back at the end."""
    parent_name, _, last = name.rpartition(".")
    parent = network.get_submodule(parent_name)
    head = getattr(parent, last)
    setattr(parent, last, _Features())
    try:
        yield
    finally:
        setattr(parent, last, head)


class _Features(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features


def stages_of(network: nn.Module) -> list[list[nn.Module]]:
    """The network cut into stages, in the order in which it defines them: about 8, the last one the head.

    The largest part is cut into its own parts until there are enough. Parts without weights of two or more
    dimensions, such as a norm layer, belong to the stage before them.
    """
    units: list[nn.Module] = [network]
    while len(units) < STAGES:
        divisible = [unit for unit in units if len(_parts(unit)) > 1]
        if not divisible:
            break
        # One with parameters of its own beside its parts (a class token) is cut only where no other can be.
        divisible = [unit for unit in divisible if not _has_own(unit)] or divisible
        at = units.index(max(divisible, key=_size))
        units[at : at + 1] = _parts(units[at])
    stages: list[list[nn.Module]] = []
    for unit in units:
        if stages and not any(parameter.ndim >= 2 for parameter in unit.parameters()):
            stages[-1].append(unit)
        else:
            stages.append([unit])
    return stages


def _parts(module: nn.Module) -> list[nn.Module]:
    """The children that hold parameters; the only child's own, where there is one and nothing beside it."""
    children = [child for child in module.children() if any(True for _ in child.parameters())]
    if len(children) != 1:
        return children
    return [] if _has_own(module) else _parts(children[0])


def _has_own(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
