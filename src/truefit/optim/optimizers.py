"""An optimiser from its settings. To add one: an entry in BUILDERS (and its name in recipes/recipe.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from truefit import sharding
from truefit.errors import InputError
from truefit.optim.lookahead import Lookahead
from truefit.optim.muon import Muon
from truefit.optim.uncompiled import uncompiled
from truefit.precision import device_of
from truefit.recipes.recipe import OptimizerConfig

Groups = list[dict[str, Any]]
# id(parameter) -> its learning rate as a share of the usual one.
Rates = dict[int, float]

# Fused kernels update all tensors in one call, on CPU, CUDA and MPS alike.
BUILDERS: dict[str, Callable[[Groups, OptimizerConfig], torch.optim.Optimizer]] = {
    "adam": lambda groups, c: torch.optim.Adam(groups, lr=c.peak_lr, betas=c.adam_betas, eps=c.eps, fused=True),
    "adamw": lambda groups, c: torch.optim.AdamW(groups, lr=c.peak_lr, betas=c.adam_betas, eps=c.eps, fused=True),
    "sgd": lambda groups, c: torch.optim.SGD(
        groups, lr=c.peak_lr, momentum=c.momentum, nesterov=c.nesterov and c.momentum > 0, fused=True
    ),
    "muon": lambda groups, c: Muon(
        groups,
        lr=c.peak_lr,
        momentum=c.momentum,
        nesterov=c.nesterov,
        betas=c.adam_betas,
        adam_share=c.adam_share,
        fixed_norm=c.fixed_norm,
        iterations=c.iterations,
    ),
}


def build_optimizer(
    network: nn.Module, config: OptimizerConfig, rates: Rates | None = None, *, recorded: bool = False
) -> torch.optim.Optimizer:
    """The optimiser of the network's trainable parameters; weight decay on weights of two or more dimensions only.

    recorded: its steps may be recorded as a CUDA graph, so that its learning rates are tensors on the device.

    Biases and the scales of norm layers do not change what a unit computes in the way that weights do, and decay
    only pulls them away from where the data wants them.
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    if not trainable:
        raise InputError("the network has no trainable parameters", found="requires_grad is False for all of them")
    rates = rates or {}
    groups: Groups = []
    # The highest rate first: it is the one that the history tells.
    for share in sorted({rates.get(id(p), 1.0) for p in trainable}, reverse=True):
        own = [sharding.part_of(p) for p in trainable if rates.get(id(p), 1.0) == share]
        lr = config.peak_lr * share
        groups.append({"params": [p for p in own if p.ndim >= 2], "weight_decay": config.weight_decay, "lr": lr})
        groups.append({"params": [p for p in own if p.ndim < 2], "weight_decay": 0.0, "lr": lr})
    if recorded:
        for group in groups:
            # Adam asks for the second; to the others it says nothing.
            rate = torch.tensor(group["lr"], device=device_of(network))
            group.update(peak=group["lr"], lr=rate, capturable=True)
    with uncompiled():
        optimizer = BUILDERS[config.name]([group for group in groups if group["params"]], config)
    if config.lookahead is not None:
        Lookahead(optimizer, every=config.lookahead, share=config.lookahead_share)
    return optimizer
