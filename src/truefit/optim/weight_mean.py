"""The plain mean of the weights at the end of training: stochastic weight averaging.

Source: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson (2018), "Averaging weights leads to wider optima and better
generalization", algorithm 1: from a point on, the weights after every cycle are averaged, each counting the same, while
the learning rate stays high; in the end the statistics of BatchNorm are computed anew, by a pass over training images.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from truefit.optim.averaging import WeightAverage
from truefit.precision import Precision
from truefit.recipes.recipe import SwaConfig

STATISTICS_SAMPLES = 10_000
"""Training images that BatchNorm's statistics are computed from, where there are so many."""


class WeightMean(WeightAverage):
    """A copy of the network with the mean of its weights: after step `begins`, and after each `every` steps from there.

    Until then it is the network as it is. Its statistics of BatchNorm belong to no weights that were trained with:
    `settle` has to be called before it is used.
    """

    def __init__(self, network: nn.Module, config: SwaConfig) -> None:
        self.source, self.config = network, config
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.steps = self.models = 0
        self.begins = self.every = 1
        self.settled = False

    def lay_out(self, steps: int, per_epoch: int) -> None:
        """Say how long the training is: optimiser steps in all, and in an epoch."""
        assert self.config.start is not None
        self.begins = max(1, round(self.config.start * steps))
        self.every = self.config.every or per_epoch

    def step(self) -> None:
        """One optimiser step was taken."""
        self.steps += 1
        self.settled = False
        if self.steps < self.begins or (self.steps - self.begins) % self.every:
            return
        self.models += 1
        self._follow(1 / self.models)

    def settle(self, batches: Iterable[Tensor], precision: Precision) -> None:
        """Make the copy fit for use. batches: training images as the network gets them, (N, C, H, W) each.

        Where no weights have been averaged yet it becomes the network as it is. Else BatchNorm's mean and variance
        become those of the batches: the means over these, each weighted by its samples. Only BatchNorm is in train
        mode for it, so that nothing random (dropout) has a part.
        """
        self.settled = True
        if not self.models:
            self._follow(1.0)
            return
        norms = [m for m in self.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        norms = [norm for norm in norms if norm.track_running_stats]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        seen = 0
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.train()
            for images in batches:
                seen += len(images)
                for norm in norms:
                    norm.momentum = len(images) / seen
                with torch.no_grad(), precision.autocast():
                    self.network(images)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()

    def has_begun(self, steps: int) -> bool:
        """Whether after so many steps the copy is a mean, of two at least, and not the network as it is or was."""
        return steps >= self.begins + self.every

    @property
    def is_usable(self) -> bool:
        """Whether `settle` was called since the last step."""
        return self.settled

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here."""
        return {**super().state_dict(), "models": self.models, "settled": self.settled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self.models, self.settled = int(state["models"]), bool(state["settled"])
