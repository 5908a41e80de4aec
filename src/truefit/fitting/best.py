"""Which epoch's weights are kept."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

from truefit.runs.evaluation import Evaluation


@dataclass
class Best:
    """The best epoch so far: highest validation accuracy, then lower loss, then the earlier one."""

    epoch: int = 0
    accuracy: float = -1.0
    loss: float = float("inf")
    weights: dict[str, Any] | None = None

    def offer(self, epoch: int, evaluation: Evaluation, network: nn.Module) -> bool:
        if (evaluation.accuracy, -evaluation.loss) <= (self.accuracy, -self.loss):
            return False
        self.epoch, self.accuracy, self.loss = epoch, evaluation.accuracy, evaluation.loss
        # A deep copy keeps the versions of the modules' states, which some need to load them.
        self.weights = copy.deepcopy(network.state_dict())
        return True
