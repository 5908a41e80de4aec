"""An average of the weights over the steps, which is often better than any of them.

Sources: Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging", for averaging the
iterates; Tarvainen and Valpola (2017), "Mean teachers are better role models", for the exponential average of a
network's weights (equation 3).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from truefit import sharding
from truefit.optim.buffers import alike, give, is_plain
from truefit.recipes.recipe import EmaConfig


class WeightAverage:
    """A copy of the network that follows it: after each `every` steps, average = d * average + (1 - d) * weights.

    d is min(decay, (1 + t) / (10 + t)) at the t-th update (from 1): an average that is young forgets its beginning
    faster (the rule of TensorFlow's ExponentialMovingAverage with num_updates), so short trainings have one too.

    Running statistics of BatchNorm are averaged just as the weights are. They then belong to the same steps as the
    averaged weights. Left alone they would stay those of the untrained network; taken from the network in training
    they would be those of other activations than the averaged weights give; both give a network that is
    well trained and measures badly. Integer buffers (counters) are copied.
    """

    def __init__(self, network: nn.Module, config: EmaConfig) -> None:
        assert config.decay is not None
        self.source, self.decay, self.every = network, config.decay, config.every
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.steps = 0

    def step(self) -> None:
        """One optimiser step was taken."""
        self.steps += 1
        if self.steps % self.every:
            return
        updates = self.steps // self.every
        self._follow(1 - min(self.decay, (1 + updates) / (10 + updates)))

    def _follow(self, share: float) -> None:
        """average += share * (weights - average), on the device; with 1 it is the weights, exactly."""
        with torch.no_grad():
            _take_over_replaced(self.network, self.source)
            for averages, weights, floating in _pairs(self.network, self.source):
                if floating:
                    torch._foreach_lerp_(averages, weights, share)
                else:
                    torch._foreach_copy_(averages, weights)

    def has_begun(self, steps: int) -> bool:
        """Whether after so many steps the copy is an average, and not the network as it is or was."""
        return self.decay > 0 and steps >= self.every

    @property
    def is_usable(self) -> bool:
        """Whether the copy can be measured as it stands."""
        return True

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here."""
        return {"steps": self.steps, "tensors": _tensors(self.network)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.steps = int(state["steps"])
        mine = _tensors(self.network)
        with torch.no_grad():
            for name, value in state["tensors"].items():
                own = mine.get(name)
                part = sharding.cut(value, own)
                if isinstance(own, nn.Parameter):
                    own.copy_(part)
                else:
                    give(self.network, name, part)


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _take_over_replaced(average: nn.Module, network: nn.Module) -> None:
    """Buffers that a forward pass has made something of another kind of, or that can't be averaged, as they are now."""
    holders = dict(average.named_modules())
    for place, module in network.named_modules():
        for name, buffer in module._buffers.items():
            if place not in holders:
                continue
            own = holders[place]._buffers.get(name)
            if buffer is None:
                holders[place]._buffers[name] = None
            elif own is None or not (is_plain(own) and alike(buffer, own)):
                holders[place]._buffers[name] = buffer.detach().clone()


def _pairs(average: nn.Module, network: nn.Module) -> list[tuple[list[Tensor], list[Tensor], bool]]:
    """Tensors of the average and of the network side by side, by device and element type.

    Looked up anew each time, as a forward pass may put another tensor in a buffer's place.
    """
    groups: dict[tuple[Any, ...], tuple[list[Tensor], list[Tensor], bool]] = {}
    theirs = _tensors(network)
    for name, mine in _tensors(average).items():
        if not (isinstance(mine, nn.Parameter) or is_plain(mine)):
            continue
        kind = (mine.device, mine.dtype)
        # The types of one byte are for storage: torch does not compute in them.
        group = groups.setdefault(kind, ([], [], mine.is_floating_point() and mine.element_size() > 1))
        group[0].append(sharding.local(mine.detach()))
        group[1].append(sharding.local(theirs[name].detach()))
    return list(groups.values())
