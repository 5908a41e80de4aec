"""For each optimiser, what happened since its last step: backwards, batches, and whether gradients were cleared."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from truefit.doctor.watch.watch import Watch

# Gradients are looked at in this many steps, then in every 10th.
LOOKED_AT = 30


class Window:
    """Since the last step of one optimiser."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.steps = 0
        self.scaled = False
        self.reset()

    def reset(self) -> None:
        self.backwards = self.fetches = self.dropped = self.kept = 0
        self.clean: bool | None = None
        self.stale = 0.0
        self.scaled = False
        self.summed: float | None = None

    def parameters(self) -> list[Tensor]:
        optimizer = self.optimizer()
        return [] if optimizer is None else [p for group in optimizer.param_groups for p in group["params"]]

    @property
    def looks(self) -> bool:
        return self.steps < LOOKED_AT or self.steps % 10 == 0


def of(watch: Watch) -> list[Window]:
    """The windows of all optimisers that live."""
    return [window for window in watch.windows.values() if window.optimizer() is not None]


def window_of(watch: Watch, optimizer: Any) -> Window:
    """The window of an optimiser, opened where there is none."""
    window: Window | None = watch.windows.get(id(optimizer))
    if window is None or window.optimizer() is not optimizer:
        window = watch.windows[id(optimizer)] = Window(optimizer)
    return window


def norm(parameters: Iterable[Tensor]) -> float | None:
    """The largest norm of a gradient; None where no parameter has one."""
    gradients = [p.grad for p in parameters if p.grad is not None and not p.grad.is_sparse]
    if not gradients:
        return None
    return float(torch.stack([one.to("cpu") for one in torch._foreach_norm(gradients)]).max())


def before_backward(watch: Watch) -> None:
    for window in of(watch):
        if window.clean is True or not window.looks:
            continue
        found = norm(window.parameters())
        # NaN and infinity are another check's.
        if found is None or found == 0.0:
            window.clean = True
        elif window.backwards == 0:
            window.clean, window.stale = False, found


def after_backward(watch: Watch) -> None:
    for window in of(watch):
        window.backwards += 1
        window.kept += 1
        if window.backwards > 1 and window.looks:
            window.summed = norm(window.parameters())


def before_clear(watch: Watch, owner: Any) -> None:
    for window in of(watch):
        optimizer = window.optimizer()
        mine = owner is optimizer
        if not mine and isinstance(owner, torch.nn.Module):
            held = {id(p) for p in window.parameters()}
            mine = any(id(p) in held for p in owner.parameters())
        if mine and window.kept and (not window.looks or norm(window.parameters())):
            window.dropped += window.kept
        if mine:
            window.kept = 0


def fetched(watch: Watch) -> None:
    for window in of(watch):
        window.fetches += 1


def _meets(window: Window, parameters: list[Tensor]) -> bool:
    wanted = {id(p) for p in parameters}
    return any(id(p) in wanted for p in window.parameters())


def fresh(watch: Watch, parameters: list[Tensor]) -> bool:
    """Whether a backward has run since the last step of the optimiser of these parameters."""
    met = [window for window in of(watch) if _meets(window, parameters)]
    return any(window.backwards > 0 for window in met) or not met


def scaled(watch: Watch, parameters: list[Tensor]) -> bool:
    """Whether their gradients carry a gradient scaler's scale."""
    return any(window.scaled for window in of(watch) if _meets(window, parameters))
