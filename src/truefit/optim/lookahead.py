"""Slow weights that follow the optimiser's, and that it starts from again: Lookahead.

Source: Zhang, Lucas, Hinton, Ba (2019), "Lookahead optimizer: k steps forward, 1 step back", algorithm 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Lookahead:
    """After each `every` steps of an optimiser: slow += share * (weights - slow), and weights = slow.

    It is attached to the optimiser by hooks around its steps; the slow weights and the count lie in the optimiser's own
    state, so that they are saved with it. Where `found_inf`, set on the optimiser, is not 0, nothing changes.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, every: int, share: float) -> None:
        self.every, self.share = every, share
        self.beginning: dict[Tensor, Tensor] = {}
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for parameter in _stepped(optimizer):
            # An optimiser knows by an empty state that a parameter is new: it is put there after the step only.
            if "slow" not in optimizer.state.get(parameter, {}):
                self.beginning[parameter] = parameter.detach().clone()

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        found_inf: Tensor | None = getattr(optimizer, "found_inf", None)
        for parameter in _stepped(optimizer):
            state = optimizer.state[parameter]
            if "slow" not in state:
                state["slow"], state["lookahead"] = self.beginning.pop(parameter), 0
            state["lookahead"] += 1
            if state["lookahead"] % self.every:
                continue
            weights, slow = parameter.detach(), state["slow"]
            if found_inf is None:
                slow.lerp_(weights, self.share)
                weights.copy_(slow)
            else:
                taken = found_inf == 0
                slow.lerp_(weights, taken.to(slow.dtype) * self.share)
                weights.copy_(torch.where(taken, slow, weights))


def _stepped(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters that this step changes: those with a gradient."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
