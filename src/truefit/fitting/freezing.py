"""Which stages of a network learn in which epoch, and how fast: from the head backwards.

Source: Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification", sections 3.2
(discriminative rates) and 3.3 (gradual unfreezing).
"""

from __future__ import annotations

from torch import nn

from truefit.models.head import stages_of
from truefit.optim.optimizers import Rates
from truefit.recipes.recipe import TransferConfig


class Freezing:
    """Freezes all but the last stages of a network, and thaws one after the other. Does nothing without a probe.

    A frozen stage is in eval mode while the others train: its BatchNorm neither learns nor moves, and the stages
    behind it see what they will see in the end. Parameters that were frozen before stay so.
    """

    def __init__(self, network: nn.Module, config: TransferConfig, epochs: int) -> None:
        self.config, self.epochs = config, max(1, epochs)
        self.stages = stages_of(network)[::-1] if config.probe else []
        own = {id(parameter) for stage in self.stages for module in stage for parameter in module.parameters()}
        # What lies beside the stages (a class token, a position embedding) is as early as the earliest.
        self.beside = [p for p in network.parameters() if id(p) not in own] if self.stages else []
        self.trainable = {id(p) for p in network.parameters() if p.requires_grad}

    def rates(self) -> Rates:
        """The learning rate of each parameter, as a share of the head's."""
        found: Rates = {}
        for number, stage in enumerate(self.stages):
            for module in stage:
                for parameter in module.parameters():
                    found.setdefault(id(parameter), self.config.rate_decay**number)
        for parameter in self.beside:
            found[id(parameter)] = self.config.rate_decay ** max(0, len(self.stages) - 1)
        return found

    def thawed(self, epoch: int) -> int:
        """How many stages learn in this epoch (from 0), the head included."""
        wanted = len(self.stages) if self.config.stages is None else min(len(self.stages), self.config.stages + 1)
        return min(wanted, 1 + epoch * wanted // self.epochs)

    def apply(self, epoch: int) -> list[nn.Module]:
        """Freeze and thaw for this epoch; returns the modules that are to be in eval mode."""
        if not self.stages:
            return []
        thawed = self.thawed(epoch)
        for number, stage in enumerate(self.stages):
            for module in stage:
                for parameter in module.parameters():
                    parameter.requires_grad_(number < thawed and id(parameter) in self.trainable)
        for parameter in self.beside:
            parameter.requires_grad_(thawed == len(self.stages) and id(parameter) in self.trainable)
        return [module for stage in self.stages[thawed:] for module in stage]

    def end(self) -> None:
        """Every parameter as it was before."""
        for parameter in [*(p for s in self.stages for m in s for p in m.parameters()), *self.beside]:
            parameter.requires_grad_(id(parameter) in self.trainable)
