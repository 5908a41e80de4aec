"""Which batch size is quickest here? Tried out for a moment before the first step, with `--batch-size auto`.

The number becomes part of the recipe, in config.json: going on after a kill and repeating the run measure nothing.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from truefit import dist, rng
from truefit.data.collate import count_samples
from truefit.errors import InputError
from truefit.events import Note
from truefit.fitting.memory import is_out_of_memory
from truefit.fitting.timing import TRIAL_STEPS, trial

if TYPE_CHECKING:
    from truefit.fitting.setup import Setup

SIZES = (16, 32, 64, 128, 256, 512, 1024)
# An epoch has at least so many steps: with fewer there is little to learn from.
FEWEST_STEPS = 8
# A trial of one size is meant to take about a second (`timing.trial` takes a part of what it is given).
TRIAL_OF = 50.0
# A trial has a few steps at least. Where these are slow, sizes whose trial would take more seconds are not tried.
LONGEST = 20.0
# A smaller batch is taken where it is nearly as quick: it learns more from each image.
NEARLY = 0.95
# Sizes beyond the best so far that may be slower before the search ends.
PATIENCE = 2


def choose_batch_size(setup: Setup) -> None:
    """Give the recipe the batch size that trains most images a second and fits in memory, where it is asked for.

    Nothing changes where it is not, where no step is taken, and where a run is gone on with, whose recipe has it.
    Raises InputError for several processes, and for a training set without a length.
    """
    plan, recipe = setup.plan, setup.recipe
    if not plan.auto_batch_size or plan.settings is not None or recipe.epochs == 0:
        return
    samples = count_samples(setup.training_set, "training set")
    if dist.world() > 1 or samples is None:
        raise InputError(
            "the batch size can't be tried out here",
            where="--batch-size auto",
            found="a training set without a length" if samples is None else f"{dist.world()} processes",
            fix="name it: --batch-size 64",
        )
    rates: dict[int, float] = {}
    full = False
    try:
        with rng.preserved(setup.device):
            for size in candidates(samples, recipe.accumulate):
                # At the pace of the last one.
                if rates and size / rates[max(rates)] * TRIAL_STEPS > LONGEST:
                    break
                setup.recipe = replace(recipe, batch_size=size)
                try:
                    rates[size] = size / trial(setup, TRIAL_OF, 1.0)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or not rates:
                        raise
                    full = True
                    break
                finally:
                    _free(setup.device)
                best = max(rates, key=rates.__getitem__)
                if sum(tried > best for tried in rates) >= PATIENCE:
                    break
    finally:
        setup.recipe = recipe
    chosen = quickest(rates)
    setup.recipe = replace(recipe, batch_size=chosen)
    tried = ", ".join(f"{size}: {rate:,.0f}" for size, rate in rates.items())
    ending = f"; {2 * max(rates)} do not fit in memory" if full else ""
    plan.notify(
        Note(text=f"batch size {chosen} (images/s with {tried}{ending}); the learning rate stays {recipe.optimizer.lr}")
    )


def candidates(samples: int, accumulate: int) -> list[int]:
    """The sizes that are tried: those that leave an epoch enough steps, at least one, each part with a sample."""
    usable = [size for size in SIZES if size >= accumulate and size * FEWEST_STEPS <= samples]
    return usable or [max(accumulate, min(SIZES[0], samples))]


def quickest(rates: dict[int, float]) -> int:
    """The smallest size that is nearly as quick as the quickest. rates: images a second by size."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= NEARLY * best)


def _free(device: torch.device) -> None:
    """What a trial held is given back before the next one."""
    if device.type != "cpu":
        gc.collect()
        torch.get_device_module(device).empty_cache()
