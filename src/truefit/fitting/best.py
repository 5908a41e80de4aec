"""Which epoch's weights are kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from torch import nn

from truefit import sharding
from truefit.checkpoint.tree import Unchanging
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
        self.weights = sharding.weights(network)
        return True

    def state(self) -> dict[str, Any]:
        """What `load` needs. The copied weights are never written to again."""
        weights = None if self.weights is None else Unchanging(dict(self.weights))
        return {"epoch": self.epoch, "accuracy": self.accuracy, "loss": self.loss, "weights": weights}

    def load(self, state: dict[str, Any], network: nn.Module) -> None:
        """Take up a state. network: the one whose weights are offered; has the versions of its modules' states."""
        self.epoch, self.accuracy, self.loss = int(state["epoch"]), float(state["accuracy"]), float(state["loss"])
        self.weights = None
        if state["weights"] is not None:
            self.weights = OrderedDict(state["weights"])
            self.weights._metadata = getattr(network.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
