"""Buffers of a network, in whose place a forward pass may put a tensor of another kind, or none."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from truefit.precision import device_of


def is_plain(buffer: Tensor) -> bool:
    """Whether a buffer can be copied and written to: one that is expanded, sparse, quantised or without data can't."""
    if is_lazy(buffer) or buffer.layout != torch.strided or buffer.is_quantized or buffer.is_meta:
        return False
    return all(stride or size == 1 for stride, size in zip(buffer.stride(), buffer.shape, strict=True))


def alike(now: Tensor | None, saved: Tensor) -> bool:
    """Whether a buffer is still of the kind that was saved."""
    if now is None:
        return False
    return now.shape == saved.shape and now.dtype == saved.dtype and now.device == saved.device and is_plain(now)


def give(network: nn.Module, name: str, value: Tensor) -> None:
    """The buffer of this name becomes the value: in place where it is of that kind, else by another tensor."""
    place, _, last = name.rpartition(".")
    holder = network.get_submodule(place)
    own = holder._buffers.get(last)
    if own is not None and is_plain(own) and own.shape == value.shape and own.dtype == value.dtype:
        own.copy_(value)
    else:
        holder._buffers[last] = value.to(device_of(network), copy=True)
