"""A training whose network is split between the processes: what can be, and how it is whole again in the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from truefit.checkpoint.state import load_weights
from truefit.errors import InputError
from truefit.fitting.plan import FitPlan
from truefit.recipes.recipe import Recipe


def check_can_be_split(recipe: Recipe, plan: FitPlan) -> None:
    """InputError where a part of the training needs more than each process has."""
    needs_more = {
        # Whole matrices, which no process has.
        "the optimizer muon": recipe.optimizer.name == "muon",
        # One scale of the gradients for all, that each process would choose by its own part.
        "precision float16": recipe.precision == "float16",
        # Both work with the whole network at once.
        "swa": recipe.swa.start is not None,
        "transfer.probe": recipe.transfer.probe,
        "max_time": plan.max_time is not None,
    }
    for name, wished in needs_more.items():
        if wished:
            raise InputError(
                f"{name} does not go with a network that is split between processes",
                found=f"shard and {name}",
                wanted="adam, adamw or sgd, in float32 or bfloat16, for a number of epochs or steps",
                fix=f"leave {name} out, or train without shard",
            )


def take_over(whole: nn.Module, weights: dict[str, Any], split: nn.Module) -> None:
    """Give the whole network these weights, and the buffers of the split one that are in no state_dict."""
    load_weights(whole, weights)
    hidden = dict(split.named_buffers())
    with torch.no_grad():
        for name, buffer in whole.named_buffers():
            if name not in weights:
                buffer.copy_(hidden[name])
