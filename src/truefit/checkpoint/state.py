"""What the state of a training is, taken from the objects that have it and given back to them."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from truefit import dist, rng, sharding
from truefit.optim.averaging import WeightAverage
from truefit.optim.buffers import give
from truefit.optim.schedules import Schedule
from truefit.optim.uncompiled import uncompiled
from truefit.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Stateful:
    """The objects that change from step to step."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    precision: Precision
    average: WeightAverage | None

    def state(self) -> dict[str, Any]:
        """A tree that refers to the live tensors. The state of the data is not in it: it is the position alone.

        Of the optimiser's groups nothing is stored: they follow from the recipe, and the rate from the schedule.
        """
        scaler = self.precision.scaler
        with uncompiled():
            optimizer = sharding.optimizer_state(self.optimizer)
        return {
            "network": sharding.whole(network_state(self.network)),
            "average": None if self.average is None else sharding.whole(self.average.state_dict()),
            "optimizer": {str(number): state for number, state in optimizer.items()},
            "schedule": self.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            # Of each process: only the model's own randomness uses them, and it must not be the same in all.
            "generators": dist.gathered(rng.states(self.precision.device)),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises KeyError, TypeError, ValueError or RuntimeError where it is of something else."""
        load_network_state(self.network, state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        owners = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        loaded = {
            int(number): {name: sharding.cut(value, owners[int(number)]) for name, value in values.items()}
            for number, values in state["optimizer"].items()
        }
        with uncompiled():
            self.optimizer.load_state_dict(
                {"state": loaded, "param_groups": copy.deepcopy(self.optimizer.state_dict()["param_groups"])}
            )
        self.schedule.load_state_dict(state["schedule"])
        if self.precision.scaler is not None:
            self.precision.scaler.load_state_dict(state["scaler"])
        generators = state["generators"]
        if len(generators) == dist.world():
            rng.set_states(generators[dist.rank()], self.precision.device)


def network_state(network: nn.Module) -> dict[str, Any]:
    """The state_dict, and the buffers that a network keeps out of it."""
    stored = network.state_dict()
    hidden = {name: buffer for name, buffer in network.named_buffers() if name not in stored}
    return {"stored": dict(stored), "hidden": hidden}


def load_network_state(network: nn.Module, state: dict[str, Any]) -> None:
    """Give a network the state that `network_state` took."""
    load_weights(network, state["stored"])
    with torch.no_grad():
        for name, value in state["hidden"].items():
            give(network, name, value)


def load_weights(network: nn.Module, weights: dict[str, Any]) -> None:
    """Load a state_dict that has lost its metadata: the versions of modules' states, which some need to load them."""
    present = network.state_dict()
    state = OrderedDict((name, sharding.cut(value, present.get(name))) for name, value in weights.items())
    state._metadata = getattr(present, "_metadata", {})  # type: ignore[attr-defined]
    network.load_state_dict(state)
