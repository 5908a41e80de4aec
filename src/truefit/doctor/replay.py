"""Replays after a script has ended: the same model, the same inputs, one thing changed.

A replay leaves no trace: parameters, buffers, gradients, modes and generators are put back, and hashes prove it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from truefit import rng
from truefit.doctor.log import Log, ModelSeen
from truefit.precision import device_of


def digests(module: nn.Module, optimizer: Optimizer | None = None) -> dict[str, str]:
    """Hashes of all that a training changes, each by its name: weights, buffers, gradients, modes, the optimiser's
    state, and the generators of Python, NumPy and torch."""
    parts: dict[str, list[Any]] = {
        "parameters": [part for pair in module.named_parameters() for part in pair],
        "buffers": [part for pair in module.named_buffers() for part in pair],
        "gradients": [p.grad for p in _parameters(module, optimizer)],
        "modes": [bytes(one.training for one in module.modules()), [p.requires_grad for p in module.parameters()]],
        "generators": list(rng.states(device_of(module)).values()),
    }
    if optimizer is not None:
        others = _parameters(module, optimizer)[len(list(module.parameters())) :]
        parts["optimizer"] = [others, optimizer.state_dict()]
    return {name: _hash(values) for name, values in parts.items()}


@contextmanager
def untouched(module: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """Whatever happens inside, the module, the optimiser and the generators are afterwards what they were before.

    Raises RuntimeError, with what is different, where the hashes of before and after differ.
    """
    before = digests(module, optimizer)
    parameters = _parameters(module, optimizer)
    tensors = [(tensor, tensor.detach().clone()) for tensor in (*parameters, *module.buffers())]
    gradients = [(p, p.grad, None if p.grad is None else p.grad.clone()) for p in parameters]
    modes = [(one, one.training) for one in module.modules()]
    flags = [(p, p.requires_grad) for p in parameters]
    restore = _optimizer_state(optimizer) if optimizer is not None else None
    try:
        with rng.preserved(device_of(module)):
            yield
    finally:
        with torch.no_grad():
            for tensor, saved in tensors:
                if not torch.equal(tensor, saved):
                    tensor.copy_(saved)
            for parameter, gradient, values in gradients:
                parameter.grad = gradient
                if gradient is not None and values is not None:
                    gradient.copy_(values)
        for one, training in modes:
            one.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        if restore is not None:
            restore()
    after = digests(module, optimizer)
    different = [name for name in before if before[name] != after[name]]
    if different:
        raise RuntimeError(f"what was lent was not given back as it was: {', '.join(different)}")


def _parameters(module: nn.Module, optimizer: Optimizer | None) -> list[Tensor]:
    """Those of both, each once."""
    held = [p for group in optimizer.param_groups for p in group["params"]] if optimizer is not None else []
    return list({id(p): p for p in (*module.parameters(), *held)}.values())


def _optimizer_state(optimizer: Optimizer) -> Callable[[], None]:
    """What gives an optimiser its state, settings and attributes back: the very objects, with the values of now."""
    state = {p: copy.copy(values) for p, values in optimizer.state.items()}
    groups = [dict(group) for group in optimizer.param_groups]
    values = [v for one in (*state.values(), *groups) for v in one.values() if isinstance(v, Tensor)]
    saved = [(tensor, tensor.detach().clone()) for tensor in values]
    attributes = dict(vars(optimizer))

    def restore() -> None:
        vars(optimizer).clear()
        vars(optimizer).update(attributes)
        with torch.no_grad():
            for tensor, old in saved:
                tensor.copy_(old)
        optimizer.state.clear()
        optimizer.state.update(state)
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            group.clear()
            group.update(before)

    return restore


def _hash(values: Any) -> str:
    total = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            total.update(str((value.dtype, tuple(value.shape))).encode())
            total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key, item in value.items():
                add(str(key))
                add(item)
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            total.update(repr(value).encode())

    add(values)
    return total.hexdigest()


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
    # Not through the wrapper of data parallel training: it would wait for the other processes.
    wrapped = isinstance(seen.module, nn.parallel.DistributedDataParallel)
    with torch.set_grad_enabled(grad):
        return outputs_of((seen.module.module if wrapped else seen.module)(*inputs))


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
