"""A training that is cut to a number of steps, or to the time there is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import assert_same_weights, image_set, tiny_network
from resume.parts import BrokeOffError, assert_same_run, without_times
from truefit import InputError, Recipe, Run, Trainer, load
from truefit.events import Event, StepFinished
from truefit.fitting.length import Length
from truefit.fitting.timing import _steps_that_fit
from truefit.recipes.recipe import OptimizerConfig, ScheduleConfig

ENDLESS = Recipe(epochs=10**6, batch_size=4, optimizer=OptimizerConfig(name="adamw"))


class Slowing(nn.Module):
    """Becomes some hundred times slower after 40 passes; its outputs stay the same."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.passes = tiny_network(), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        if self.passes > 40:
            square = torch.ones(600, 600)
            for _ in range(10):
                square = square @ square / 600
        found: torch.Tensor = self.inner(images)
        return found


def fit(recipe: Recipe, network: nn.Module | None = None, *, stop: int | None = None, **more: Any) -> tuple[Run, int]:
    """A run on 22 images, six steps an epoch; and how many steps were taken."""
    steps = 0

    def count(event: Event) -> None:
        nonlocal steps
        if isinstance(event, StepFinished):
            steps += 1
            if steps == stop:
                raise BrokeOffError

    trainer = Trainer(network or tiny_network(), recipe, observers=[count], max_time=more.pop("max_time", None))
    return trainer.fit(image_set(22), image_set(10, seed=1), report=False, **more), steps


def broken_off(after: int, out: Path, **more: Any) -> None:
    with pytest.raises(BrokeOffError):
        fit(ENDLESS, stop=after, out=out, checkpoint_every="1steps", **more)


def recorded(out: Path) -> Recipe:
    plain = json.loads((out / "config.json").read_text())["recipe"]
    return replace(ENDLESS, max_steps=plain["max_steps"], stop_at_step=plain["stop_at_step"])


def test_steps_may_end_in_the_middle_of_an_epoch_and_the_schedule_with_them() -> None:
    rates = ScheduleConfig(name="one-cycle", warmup=0.0)
    run, steps = fit(replace(ENDLESS, max_steps=8, schedule=rates, optimizer=OptimizerConfig(lr=0.8)))
    assert steps == 8
    assert [record["epoch"] for record in run.history] == [1, 2]
    # Down from 0.8 to 0 over the eight steps; the history has the last of each epoch.
    assert [record["lr"] for record in run.history] == pytest.approx([0.3, 0.1])


def test_steps_beyond_the_epochs_change_nothing() -> None:
    (limited, steps), (plain, _) = fit(replace(ENDLESS, epochs=2, max_steps=99)), fit(replace(ENDLESS, epochs=2))
    assert steps == 12
    assert_same_weights(limited.network, plain.network)


def test_an_end_before_the_schedules_leaves_its_rates_as_they_are() -> None:
    whole, _ = fit(replace(ENDLESS, epochs=3))
    cut, steps = fit(replace(ENDLESS, epochs=3, stop_at_step=12))
    assert steps == 12
    assert without_times(cut.history) == without_times(whole.history[:2])


def test_going_on_in_the_part_of_an_epoch_is_exact(tmp_path: Path) -> None:
    recipe = replace(ENDLESS, max_steps=10)
    with pytest.raises(BrokeOffError):
        fit(recipe, stop=9, out=tmp_path / "run", checkpoint_every="1steps")
    gone_on, steps = fit(recipe, out=tmp_path / "run", resume=True)
    assert steps < 10
    assert_same_run(gone_on, fit(recipe)[0])


def test_training_ends_in_time_and_its_steps_are_recorded(tmp_path: Path) -> None:
    start = time.perf_counter()
    run, steps = fit(ENDLESS, max_time=4, out=tmp_path / "run")
    assert time.perf_counter() - start < 4
    repeat = recorded(tmp_path / "run")
    assert run.evaluation is not None
    assert steps == (repeat.stop_at_step or repeat.max_steps) > 20
    assert_same_run(fit(repeat)[0], run)


def test_a_machine_that_becomes_slower_ends_training_early_and_that_is_recorded(tmp_path: Path) -> None:
    start = time.perf_counter()
    run, steps = fit(ENDLESS, Slowing(), max_time=4, out=tmp_path / "run")
    assert time.perf_counter() - start < 4
    repeat = recorded(tmp_path / "run")
    assert repeat.max_steps is not None
    assert steps == repeat.stop_at_step < repeat.max_steps
    assert run.config["recipe"]["stop_at_step"] == steps
    assert (tmp_path / "run" / "evaluation.json").is_file()


@pytest.mark.parametrize("again", [{"max_time": 4}, {}], ids=["with the time again", "without"])
def test_going_on_takes_the_recorded_steps_and_no_clock(tmp_path: Path, again: dict[str, Any]) -> None:
    broken_off(9, tmp_path / "run", max_time=3.5)
    # As if the time had allowed fewer steps: then the whole is quicker to compare.
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["max_time"] == 3.5
    config["recipe"]["max_steps"] = 14
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    gone_on, steps = fit(ENDLESS, out=tmp_path / "run", resume=True, **again)
    assert steps < 14
    wanted, _ = fit(replace(ENDLESS, max_steps=14))
    assert len(gone_on.history) == len(wanted.history) == 3
    # A finished run is left as it is.
    assert fit(ENDLESS, out=tmp_path / "run", resume=True, **again)[1] == 0
    assert load(tmp_path / "run", network=tiny_network()).evaluation is not None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fit(ENDLESS, max_time=0.5), "too short"),
        (lambda: fit(replace(ENDLESS, max_steps=3), max_time="20m"), "both say"),
        (lambda: Trainer(max_time="20 minutes"), "no length of time"),
        (lambda: Trainer(max_time=-3), "no length of time"),
        (lambda: Trainer(max_time="20m").fit_seeds("digits"), "seeds"),
        (lambda: Recipe(max_steps=0), "max_steps"),
        (lambda: Length.of(Recipe(max_steps=3), None), "has a length"),
    ],
)
def test_what_does_not_go_together_is_an_error(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_time_that_is_too_short_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too short"):
        fit(ENDLESS, max_time=0.5, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(0.5, 0), (1.99, 0), (2, 1), (11, 10), (11.5, 10), (12.5, 10), (13, 11), (21, 19), (22, 20), (23, 20)],
)
def test_evaluations_take_their_time_from_the_steps(seconds: float, steps: int) -> None:
    """A second a step, and one for each epoch of ten, a part of one included."""
    assert _steps_that_fit(seconds, 1.0, 1.0, 10) == steps
