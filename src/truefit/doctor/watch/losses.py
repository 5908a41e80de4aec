"""Calls of loss functions: what they were given, and what had made it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from truefit.doctor.callsite import call_site
from truefit.doctor.log import Loss
from truefit.doctor.watch.watch import Watch
from truefit.tasks.given_loss import looks_like_probabilities

NAMES = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
)
# Operations that hand values on as they are, whatever the shape.
_PASSING = ("View", "ReshapeAlias", "UnsafeView", "Squeeze", "Unsqueeze", "Alias", "ToCopy", "Clone", "T0", "TBack")
# Values are looked at in this many calls of each mode, then in every 50th.
LOOKED_AT = 20
# Training calls whose loss is kept.
VALUES = 1000
# Training calls whose labels are counted.
LABELS = 200


def install(watch: Watch) -> None:
    """Wrap the functions of torch.nn.functional; the loss modules call those."""
    for name in NAMES:
        watch.patch(F, name, partial(_wrapped, watch, name))


def _wrapped(watch: Watch, name: str, original: Any) -> Any:
    calls = {True: 0, False: 0}

    def loss(input: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        # torch.nn.functional.cross_entropy calls nll_loss in places of its own: only the outer one counts.
        if not watch.listening() or not isinstance(input, Tensor) or not isinstance(target, Tensor):
            return original(input, target, *args, **kwargs)
        grad = torch.is_grad_enabled() and input.requires_grad
        calls[grad] += 1
        look = calls[grad] <= LOOKED_AT or calls[grad] % 50 == 0
        event = _event(watch, name, input, target, grad, look)
        watch.on = False
        try:
            value = original(input, target, *args, **kwargs)
        finally:
            watch.on = True
        indices = name in ("cross_entropy", "nll_loss") and target.ndim == 1 and not target.is_floating_point()
        if grad and indices and calls[grad] <= LABELS:
            found, counts = torch.unique(target, return_counts=True)
            event = replace(event, labels=dict(zip(found.tolist(), counts.tolist(), strict=True)))
        if grad and calls[grad] <= VALUES and kwargs.get("reduction", "mean") == "mean":
            event = replace(event, value=value.detach())
        watch.add(event)
        current = watch.current
        if current is not None and not grad and isinstance(value, Tensor) and value.ndim == 0:
            current.losses.setdefault(current.batches - 1, (value.detach(), len(target)))
        return value

    return loss


def _event(watch: Watch, name: str, input: Tensor, target: Tensor, grad: bool, look: bool) -> Loss:
    made_by = producer(input)
    classes = input.shape[1] if input.ndim >= 2 else 0
    probabilities = above = None
    if look and name in ("cross_entropy", "nll_loss") and input.ndim == 2 and classes > 1 and len(input):
        probabilities = looks_like_probabilities(input)
        above = bool((input.detach() > 0).any()) if name == "nll_loss" else None
    last = watch.pending[-1] if watch.pending else None
    return Loss(
        at=watch.now(),
        name=name,
        where=call_site(),
        grad=grad,
        shape=tuple(input.shape),
        target_shape=tuple(target.shape),
        made_by=made_by,
        probabilities=probabilities,
        above_zero=above,
        forward=last.at if last is not None else None,
        loader_pass=watch.current.number if watch.current is not None else None,
        model_training=last.training if last is not None else None,
    )


def producer(tensor: Tensor) -> str | None:
    """softmax, log_softmax or sigmoid, where the graph says that one of them made the tensor's values."""
    node: Any = tensor.grad_fn
    for _ in range(8):
        if node is None:
            return None
        name = type(node).__name__
        if name.startswith("Softmax"):
            return "softmax"
        if name.startswith("LogSoftmax"):
            return "log_softmax"
        if name.startswith("Sigmoid"):
            return "sigmoid"
        if not name.startswith(_PASSING):
            return None
        node = node.next_functions[0][0] if node.next_functions else None
    return None
