"""Replays after a script has ended: the same model, the same inputs, one thing changed.

A replay leaves no trace: parameters, buffers, gradients' absence, modes and generators are put back, and a hash over
them proves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from truefit import rng
from truefit.doctor.log import Log, ModelSeen


def digest(module: nn.Module) -> str:
    """A hash of all parameters, buffers and modes, and of torch's generator."""
    total = hashlib.blake2b(digest_size=16)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        total.update(name.encode())
        total.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    total.update(bytes(one.training for one in module.modules()))
    total.update(torch.default_generator.get_state().numpy().tobytes())
    return total.hexdigest()


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Whatever happens inside, the module and the generators are afterwards what they were before."""
    before = digest(module)
    tensors = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers())]
    modes = [(one, one.training) for one in module.modules()]
    device = next(module.parameters()).device
    try:
        with rng.preserved(device):
            yield
    finally:
        with torch.no_grad():
            for tensor, saved in tensors:
                if not torch.equal(tensor, saved):
                    tensor.copy_(saved)
        for one, training in modes:
            one.training = training
    if digest(module) != before:
        raise RuntimeError("a replay changed the model")


def outputs_of(value: Any) -> list[Tensor]:
    """All floating tensors in what a model gives, in order."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in outputs_of(part)] if isinstance(value, list | tuple) else []


def call(
    seen: ModelSeen, inputs: tuple[Tensor, ...], *, training: bool, seed: int = 0, grad: bool = False
) -> list[Tensor]:
    """Outputs for these inputs with the generators seeded: call it within `untouched`."""
    seen.module.train(training)
    rng.seed_all(seed)
    with torch.set_grad_enabled(grad):
        return outputs_of(seen.module(*inputs))


def example(seen: ModelSeen, least: int = 2) -> tuple[Tensor, ...] | None:
    """Inputs of a call that was seen, with at least so many samples."""
    for mode in ("eval", "train"):
        for inputs in seen.examples[mode]:
            if len(inputs[0]) >= least:
                return inputs
    return None


def whole_models(log: Log) -> list[ModelSeen]:
    """Trained models that can be replayed: some inputs are known."""
    return [seen for seen in log.trained_models() if example(seen) is not None]


def distance(first: Tensor, second: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    scale = max(float(first.abs().max()), 1e-12)
    return float((first - second).abs().max()) / scale
