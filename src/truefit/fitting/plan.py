"""What a training is asked to do: the wishes that a Trainer hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.data import Dataset

from truefit.events import Observer
from truefit.models.weights import Weights
from truefit.monitors import Finding
from truefit.precision import Settings
from truefit.recipes.recipe import Recipe

AnySet = Dataset[Any]


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What a Trainer hands over to one training.

    settings: those of a run that is gone on with; None resolves them anew.
    begun_with: what `weights_of` read of another run, whose weights this one starts from. weights: pretrained ones,
    of which the network takes what fits.
    max_time: seconds that it may take, from `begun` (as of `time.perf_counter`) to the report; None: any.
    shard: split the network between the processes.
    deterministic: settings follow fixed rules; otherwise the quickest ones are measured (see `fitting.quickest`).
    auto_batch_size: the recipe's batch size is to be the quickest one here, unless settings say it is known.
    monitored: watched by the monitors of the doctor. tried: what the doctor found in a dry run before.
    """

    model: nn.Module | str
    recipe: Recipe
    seed: int
    device: str | None
    workers: int
    measure_training: bool
    notify: Observer
    settings: Settings | None = None
    begun_with: StartingWeights | None = None
    weights: Weights | None = None
    select_on: Literal["validation", "test"] = "validation"
    calibrate: bool = False
    max_time: float | None = None
    begun: float = 0.0
    auto_batch_size: bool = False
    deterministic: bool = True
    monitored: bool = True
    shard: bool = False
    tried: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StartingWeights:
    """Weights to start from. about: where they come from, as it stands in config.json. data: what the config.json of
    that run says of its data."""

    weights: dict[str, Tensor]
    about: dict[str, Any]
    data: dict[str, Any]
