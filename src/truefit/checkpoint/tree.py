"""Training state as a tree of plain values, with its tensors apart: what JSON and safetensors can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from truefit.errors import InputError

# A tensor's place in the tree is taken by {TENSOR: its name, "stride": [...], "device": "cpu" or another kind}.
TENSOR = "$tensor"


@dataclass(frozen=True)
class Unchanging:
    """A part of the tree whose tensors nobody will write to: they need not be copied."""

    tree: Any


def flatten(tree: Any, buffers: dict[str, Tensor] | None = None) -> tuple[Any, dict[str, Tensor]]:
    """The tree with names in place of tensors, and copies of the tensors on the CPU by these names.

    tree: dicts with keys that are text, lists, tuples (which become lists), numbers, text, None, tensors.
    buffers: copies of an earlier time that nobody uses any more; they are written over where they fit.
    """
    tensors: dict[str, Tensor] = {}
    buffers = buffers or {}

    def visit(node: Any, path: str, copy: bool) -> Any:
        if isinstance(node, Unchanging):
            return visit(node.tree, path, False)
        if isinstance(node, Tensor):
            kept = _copied(node.detach(), buffers.get(path)) if copy else node.detach().cpu()
            tensors[path] = kept
            return {TENSOR: path, "stride": list(kept.stride()), "device": node.device.type}
        if isinstance(node, dict):
            return {name: visit(child, f"{path}/{name}", copy) for name, child in node.items()}
        if isinstance(node, list | tuple):
            return [visit(child, f"{path}/{i}", copy) for i, child in enumerate(node)]
        if node is None or isinstance(node, str | int | float):
            return node
        raise InputError(
            "the training state holds something that can't be saved",
            where=path.lstrip("/"),
            found=type(node).__name__,
            wanted="tensors, numbers, text, lists and dicts",
            fix="--checkpoint-every never",
        )

    return visit(tree, "", True), tensors


def blank(tree: Any, path: str = "") -> dict[str, Tensor]:
    """Memory for the copies that `flatten` makes of a tree, written once so that the system has given it."""
    if isinstance(tree, Tensor):
        return {path: torch.zeros_like(tree, device="cpu", memory_format=torch.preserve_format)}
    if isinstance(tree, dict | list | tuple):
        children = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {name: buffer for key, child in children for name, buffer in blank(child, f"{path}/{key}").items()}
    return {}


def unflatten(plain: Any, tensors: dict[str, Tensor], device: torch.device) -> Any:
    """The tree again: each tensor with the strides it had, and on `device` where it was not on the CPU.

    Raises InputError where names and tensors do not go together.
    """
    try:
        return _unflattened(plain, tensors, device)
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise InputError("the checkpoint's tree and tensors do not go together", found=repr(error)) from error


def _unflattened(plain: Any, tensors: dict[str, Tensor], device: torch.device) -> Any:
    if isinstance(plain, dict):
        if TENSOR in plain:
            tensor = _laid_out(tensors[plain[TENSOR]], plain["stride"])
            return tensor if plain["device"] == "cpu" else tensor.to(device)
        return {name: _unflattened(child, tensors, device) for name, child in plain.items()}
    if isinstance(plain, list):
        return [_unflattened(child, tensors, device) for child in plain]
    return plain


def _copied(tensor: Tensor, buffer: Tensor | None) -> Tensor:
    fits = buffer is not None and (buffer.shape, buffer.dtype) == (tensor.shape, tensor.dtype)
    if buffer is not None and fits and buffer.stride() == tensor.stride():
        return buffer.copy_(tensor)
    return tensor.to("cpu", copy=True)


def _laid_out(tensor: Tensor, stride: list[int]) -> Tensor:
    """The same values in the memory layout that they had: sums and fused kernels depend on it."""
    expected = 1
    for step, size in sorted(zip(stride, tensor.shape, strict=True)):
        # Only layouts without gaps; any other is of no use, and could ask for any amount of memory.
        if size != 1 and step != expected:
            return tensor
        expected *= size
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)
