"""Which learning rate? A range test: it grows with every step, until the loss gets worse."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from truefit import loop, rng
from truefit.config import require
from truefit.data.imageset import Data
from truefit.errors import InputError, NonFiniteError
from truefit.events import Event, StepFinished
from truefit.fitting.setup import Setup
from truefit.models.outputs import logits_alone
from truefit.optim.optimizers import build_optimizer
from truefit.precision import Precision, threads
from truefit.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 150
SMOOTHING = 0.9
# The loss has got worse for good where its smoothed value is so many times its lowest one.
WORSE = 3.0
# The suggestion stays this far below the rate at which the loss was lowest: there it is about to grow.
MARGIN = 10.0


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """What a range test found. lrs, losses: of each step. smoothed: the losses' moving average, without its start's
    bias. suggestion: a tenth of the rate at which `smoothed` was lowest.

    Source: Smith (2017), "Cyclical learning rates for training neural networks", section 3.3.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float

    def plot(self) -> Figure:
        """The loss over the learning rate, with the suggestion marked."""
        from truefit.report.shown import ShownFigure

        figure = ShownFigure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.lrs, self.losses, color="#a85a12", alpha=0.4, lw=1, label="loss of each step")
        axes.plot(self.lrs, self.smoothed, color="#1f5fae", label="smoothed")
        axes.axvline(self.suggestion, color="#23775a", ls="--", label=f"suggestion {self.suggestion:.1e}")
        low, high = min(self.smoothed), max(self.smoothed[0], min(self.smoothed))
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        axes.set_ylim(low - 0.1 * (high - low + 1e-3), high + 0.5 * (high - low + 1e-3))
        axes.legend(frameon=False)
        return figure


def find_lr(
    trainer: Trainer,
    training_set: Dataset[object] | Data | str | Path,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
) -> RangeTest:
    """Train for at most so many steps while the learning rate grows from `lowest` to `highest` by equal factors.

    Model, recipe, batch size and seed are the trainer's; the steps are those of a training, without a schedule. It ends
    early where the smoothed loss is three times its lowest value, or not finite. The trainer's network (where it has
    one), the generators and the ledger are left as they were; nothing is written.

    Raises InputError for a range that is none, and as `Trainer.fit` does.
    """
    require(0 < lowest < highest < math.inf, "lowest", lowest, f"above 0 and below {highest}")
    require(steps >= 10, "steps", steps, "at least 10")
    setup = trainer._prepare(training_set, None, None).setup
    with _untouched(setup), threads(setup.settings.threads), rng.seeded(setup.plan.seed, setup.device):
        lrs, losses = _run(setup, lowest, highest, steps)
    smoothed = _smooth(losses)
    best = min(range(len(smoothed)), key=smoothed.__getitem__)
    if lrs[best] / MARGIN <= lowest:
        raise InputError(
            "the range test found no rate at which the loss falls",
            found=f"the lowest smoothed loss at {lrs[best]:.1e}, step {best + 1} of {len(lrs)}",
            wanted="a loss that falls before it grows",
            fix="begin lower, or look at the data",
        )
    return RangeTest(lrs=tuple(lrs), losses=tuple(losses), smoothed=tuple(smoothed), suggestion=lrs[best] / MARGIN)


class _Enough(Exception):
    """The range has been walked through, or the loss has got worse for good."""


class _Growing:
    """A scheduler: multiplies every group's rate by the same factor, from `lowest` on for the largest."""

    def __init__(self, optimizer: torch.optim.Optimizer, lowest: float, factor: float) -> None:
        self.groups, self.factor = optimizer.param_groups, factor
        scale = lowest / max(group["lr"] for group in self.groups)
        for group in self.groups:
            group["lr"] *= scale

    @property
    def lr(self) -> float:
        return float(max(group["lr"] for group in self.groups))

    def step(self) -> None:
        for group in self.groups:
            group["lr"] *= self.factor


def _run(setup: Setup, lowest: float, highest: float, steps: int) -> tuple[list[float], list[float]]:
    """The rates and losses of the steps, until it is enough."""
    batches = setup.batches(setup.training_set, "training set", setup.recipe.batch_size, setup.plan.seed)
    optimizer = build_optimizer(setup.network, setup.recipe.optimizer)
    schedule = _Growing(optimizer, lowest, (highest / lowest) ** (1 / (steps - 1)))
    lrs: list[float] = []
    losses: list[float] = []

    def watch(event: Event) -> None:
        if not isinstance(event, StepFinished):
            return
        # The schedule has been stepped by now.
        lrs.append(schedule.lr / schedule.factor)
        # A range test has to know when to end: it may wait for each loss.
        losses.append(float(event.loss))
        smoothed = _smooth(losses)
        if len(losses) >= steps or not smoothed[-1] <= WORSE * min(smoothed):
            raise _Enough

    epoch = 0
    try:
        # What the notes say of the network they say when it is trained.
        with logits_alone(setup.network, lambda text: None):
            while True:
                loop.train_epoch(
                    setup.network,
                    batches,
                    setup.task,
                    optimizer,
                    epoch=epoch,
                    scheduler=schedule,
                    accumulate=setup.recipe.accumulate,
                    clip_norm=setup.recipe.clip_norm,
                    precision=Precision(setup.settings.training_precision, setup.device),
                    observe=watch,
                )
                epoch += 1
    except _Enough:
        pass
    except NonFiniteError:
        if len(losses) < 2:
            raise
    while losses and not math.isfinite(losses[-1]):
        losses.pop(), lrs.pop()
    return lrs, losses


def _smooth(losses: list[float]) -> list[float]:
    """Moving average with decay 0.9, divided by what it has seen so far, as Adam divides its moments."""
    found, mean = [], 0.0
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return found


@contextmanager
def _untouched(setup: Setup) -> Iterator[None]:
    """Give the network's weights and buffers back, for it may be the caller's."""
    before = copy.deepcopy(setup.network.state_dict())
    try:
        yield
    finally:
        setup.network.load_state_dict(before)
        setup.network.zero_grad(set_to_none=True)
