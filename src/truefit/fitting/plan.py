"""What a training is asked to do: the wishes that a Trainer hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from truefit.events import Observer
from truefit.recipes.recipe import Recipe

AnySet = Dataset[Any]


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What a Trainer hands over to one training."""

    model: nn.Module | str
    recipe: Recipe
    seed: int
    device: str | None
    workers: int
    measure_training: bool
    notify: Observer
