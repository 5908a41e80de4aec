"""The learning rate as a function of the optimiser step."""

from __future__ import annotations

import math
from typing import Any

import torch

from truefit.recipes.recipe import ScheduleConfig, SwaConfig


class Schedule:
    """Sets each group's learning rate to its peak times a factor, before every optimiser step.

    The factor is a pure function of the step and, for reduce-on-plateau, of the validation losses so far.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        config: ScheduleConfig,
        *,
        steps_per_epoch: int,
        epochs: float,
        swa: SwaConfig | None = None,
    ) -> None:
        self.optimizer, self.config = optimizer, config
        self.steps_per_epoch, self.total = steps_per_epoch, round(steps_per_epoch * epochs)
        # From which step on the rate stays, for the weights that are averaged.
        self.held, self.held_factor = math.inf, 1.0
        if swa is not None and swa.start is not None and swa.lr is not None:
            self.held, self.held_factor = round(swa.start * self.total), swa.lr
        self.peaks = [float(group.get("peak", group["lr"])) for group in optimizer.param_groups]
        self.done = 0
        self.plateau_factor, self.best, self.waited = 1.0, math.inf, 0
        self._apply()

    @property
    def last_lr(self) -> float:
        """The first group's learning rate in the step that was taken last."""
        rate: float = self.peaks[0] * self.factor(max(0, self.done - 1))
        return rate

    def step(self) -> None:
        """One optimiser step was taken."""
        self.done += 1
        self._apply()

    def end_epoch(self, validation_loss: float | None) -> None:
        """An epoch is over; only reduce-on-plateau looks at its validation loss."""
        if self.config.name != "reduce-on-plateau" or validation_loss is None:
            return
        if validation_loss < self.best:
            self.best, self.waited = validation_loss, 0
        else:
            self.waited += 1
        if self.waited > self.config.patience:
            self.plateau_factor, self.waited = self.plateau_factor * self.config.gamma, 0
        self._apply()

    def factor(self, step: int) -> float:
        """The factor on the peak for this step (from 0), 0..1."""
        config = self.config
        if step >= self.held:
            return self.held_factor
        warm = round(config.warmup_fraction * self.total)
        if step < warm:
            return (step + 1) / (warm + 1)
        # From 1 at the end of the warm-up down to `final` one step after the last.
        left = 1 - (step - warm) / max(1, self.total - warm)
        match config.name:
            case "one-cycle":
                return config.final + (1 - config.final) * max(0.0, left)
            case "cosine":
                return config.final + (1 - config.final) * (1 - math.cos(math.pi * max(0.0, left))) / 2
            case "step":
                return float(config.gamma ** (step // (self.steps_per_epoch * config.step_epochs)))
            case "reduce-on-plateau":
                return self.plateau_factor
            case "constant":
                return 1.0

    def _apply(self) -> None:
        factor = self.factor(self.done)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                # On the device, where a recorded step reads it.
                group["lr"].fill_(peak * factor)
            else:
                group["lr"] = peak * factor

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here."""
        return {
            "done": self.done,
            "plateau_factor": self.plateau_factor,
            "best": self.best,
            "waited": self.waited,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.done, self.plateau_factor = state["done"], state["plateau_factor"]
        self.best, self.waited = state["best"], state["waited"]
        self._apply()
