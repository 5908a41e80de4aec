"""How many steps fit into the time that a training may take.

Before the first step a copy of the network is trained and evaluated for a moment, and thrown away. What that took says
how many steps fit, with the evaluations. The number is part of the recipe from then on (`max_steps`), and the schedule
is laid out over it: going on after a kill and repeating the run use the number, and no clock. Should the machine become
slower later, training ends when the rest of the time is needed for the evaluation, and that step is recorded too
(`stop_at_step`).
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from truefit import dist, loop, rng
from truefit.data.collate import count_samples
from truefit.data.shortened import Shortened
from truefit.errors import InputError
from truefit.events import Event, Note, StepFinished
from truefit.optim.execution import WARM_UP, compiled
from truefit.optim.optimizers import build_optimizer
from truefit.optim.weight_mean import STATISTICS_SAMPLES
from truefit.precision import Precision

if TYPE_CHECKING:
    from truefit.fitting.setup import Setup

# A trial takes this share of the time, but no more than so many seconds; it has at least so many steps.
TRIAL_SHARE, TRIAL_SECONDS, TRIAL_STEPS = 0.02, 3.0, 4
# The first steps of a process are slower than all that follow.
SLOW_STEPS = 2
# Steps that take longer than in the trial, as a part; and for writing the run and its report: a part, and seconds.
SLOWER, WRITING_SHARE, WRITING_SECONDS = 0.05, 0.02, 3.0
# For the figures of an evaluation, beside the pass itself.
FIGURES_SECONDS_A_SAMPLE = 1e-4


class Clock:
    """When training has to end: `reserve` seconds before `deadline` (both as of `time.perf_counter`)."""

    def __init__(self, deadline: float, reserve: float) -> None:
        self.deadline, self.reserve = deadline, reserve

    def is_up(self) -> bool:
        """Asked by all processes at once, of which the first has the clock."""
        return _agreed(time.perf_counter() >= self.deadline - self.reserve)


def fit_into_time(setup: Setup) -> Clock | None:
    """Lay the training out over the steps that there is time for; the clock that ends it should it take longer.

    None, and nothing changes, where no time is given, or the steps are known already.
    Raises InputError where there is not enough time for a single step.
    """
    most, recipe = setup.plan.max_time, setup.recipe
    if most is None or recipe.max_steps is not None:
        return None
    if setup.length.per_epoch is None:
        raise InputError(
            "max_time needs a training set that has a length", found="an iterable one", wanted="a number of epochs"
        )
    deadline = setup.plan.begun + most
    with rng.preserved(setup.device):
        step = (1 + SLOWER) * _seconds_of_a_step(setup, most)
        image = _seconds_of_an_image(setup, most)
    each_epoch, at_the_end = _evaluations(setup, image)
    reserve = at_the_end + WRITING_SHARE * most + WRITING_SECONDS
    # What the first process measured counts for all.
    left = deadline - time.perf_counter() - reserve
    step, each_epoch, reserve, left = dist.from_first(lambda: (step, each_epoch, reserve, left))
    steps = _steps_that_fit(left, step, each_epoch, setup.length.per_epoch)
    if steps < 1:
        needed = most - left + step + each_epoch
        raise InputError(
            "max_time is too short for a single step",
            where="--max-time",
            found=f"{most:.0f} s, of which {reserve:.0f} s are for the last evaluation and the report",
            wanted=f"at least {needed:.0f} s",
        )
    steps = min(steps, recipe.epochs * setup.length.per_epoch)
    setup.recipe = replace(recipe, max_steps=steps)
    setup.plan.notify(
        Note(
            text=f"{most:.0f} s allow {steps:,} steps ({setup.length.laid_out:.2f} of {recipe.epochs} epochs), "
            f"{1000 * step:.1f} ms each; {reserve:.0f} s are kept for the last evaluation and the report"
        )
    )
    return Clock(deadline, reserve + each_epoch)


def _agreed(answer: bool) -> bool:
    """What the first process says."""
    return bool(dist.largest([answer and dist.is_first()])[0])


def _steps_that_fit(seconds: float, step: float, each_epoch: float, per_epoch: int) -> int:
    """Steps of `step` seconds with `each_epoch` seconds after every `per_epoch` of them, and after the last."""
    whole = per_epoch * step + each_epoch
    epochs = max(0, int(seconds // whole))
    return epochs * per_epoch + max(0, int((seconds - epochs * whole - each_epoch) // step))


def _seconds_of_a_step(setup: Setup, most: float) -> float:
    """Where images grow in the course of training: the mean of small and large ones."""
    # Where the training would stand: at its end; and where it is different there, at its beginning.
    stands = [1.0] if setup.recipe.augment.start_shrink is None else [0.0, 1.0]
    return sum(trial(setup, most / len(stands), stand) for stand in stands) / len(stands)


def trial(setup: Setup, most: float, stand: float) -> float:
    """Seconds of one step, by a moment of training a copy: a part of `most` seconds. stand: where training is, 0..1."""
    recipe = setup.recipe
    network = copy.deepcopy(setup.network)
    training = setup.batches(
        setup.training_set, "training set", recipe.batch_size, setup.plan.seed, epochs=1 if stand else 1e9
    )
    assert training.steps is not None
    # Where steps are recorded those before that are slow, and the one in which it happens.
    slow = WARM_UP + 1 if setup.recorded else SLOW_STEPS
    marks = [time.perf_counter()]
    until = marks[0] + min(TRIAL_SECONDS, TRIAL_SHARE * most)

    def mark(event: Event) -> None:
        if isinstance(event, StepFinished):
            if setup.device.type != "cpu":
                torch.get_device_module(setup.device).synchronize()
            marks.append(time.perf_counter())

    optimizer = build_optimizer(network, recipe.optimizer, recorded=setup.recorded)
    precision = Precision(setup.settings.training_precision, setup.device)
    with compiled(network, setup.compiled):
        loop.train_epoch(
            network,
            Shortened(training, training.steps, lambda: _agreed(len(marks) > slow + 2 and marks[-1] > until)),
            copy.copy(setup.task),
            optimizer,
            epoch=1 if stand else 0,
            accumulate=recipe.accumulate,
            precision=precision,
            gradient=setup.gradient_step(network, optimizer, precision),
            observe=mark,
        )
    slow = min(slow, len(marks) - 2)
    return (marks[-1] - marks[slow]) / (len(marks) - 1 - slow)


def _seconds_of_an_image(setup: Setup, most: float) -> float:
    """Evaluation, by a moment of it on the training set: nothing is measured on the others before their time."""
    batches = setup.batches(setup.training_set, "training set", setup.settings.evaluation_batch_size)
    start = time.perf_counter()
    until = start + min(TRIAL_SECONDS, TRIAL_SHARE * most) / 2
    first = Shortened(batches, batches.steps or 1, lambda: time.perf_counter() > until)
    precision = Precision(setup.settings.precision, setup.device)
    # Each process by itself, as each stops by its own clock; an evaluation is dealt to all of them.
    with dist.alone():
        done = loop.evaluate(setup.module, first, copy.copy(setup.task), split="train", precision=precision)
    return (time.perf_counter() - start) / done.samples / dist.world()


def _evaluations(setup: Setup, image: float) -> tuple[float, float]:
    """Seconds of the evaluations after each epoch, and of those after training."""
    sizes = {}
    for name in ("training_set", "validation_set", "test_set"):
        dataset = getattr(setup, name)
        sizes[name] = 0 if dataset is None else count_samples(dataset, name) or 0
    each = sizes["validation_set"] + setup.plan.measure_training * sizes["training_set"]
    if setup.recipe.swa.start is not None:
        each += min(STATISTICS_SAMPLES, sizes["training_set"])
    last = (sizes["test_set"] or sizes["validation_set"]) + setup.plan.calibrate * sizes["validation_set"]
    return each * image, last * (image + FIGURES_SECONDS_A_SAMPLE)
