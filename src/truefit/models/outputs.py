"""Networks that give more than logits: those of Hugging Face, and torchvision's with auxiliary heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def logits_of(outputs: Any) -> Any:
    """The logits among a network's outputs: what has that name, as an attribute or a key; else the outputs as they are.

    Checks of outputs then say what is wrong with anything that is no tensor.
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        return outputs.get("logits", outputs)
    return getattr(outputs, "logits", outputs)


@contextmanager
def logits_alone(network: nn.Module, say: Callable[[str], None]) -> Iterator[None]:
    """Within this a call of the network gives its logits alone, and afterwards again what it gave before.

    say: told once where something is left out. Auxiliary heads have no part in the loss then.
    """
    told = False

    def chosen(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> Any:
        nonlocal told
        logits = logits_of(outputs)
        if logits is not outputs and not told:
            told = True
            say(
                f"{type(network).__name__} gives {type(outputs).__name__}: its logits are trained, the rest is left out"
            )
        return logits

    handle = network.register_forward_hook(chosen)
    try:
        yield
    finally:
        handle.remove()
