"""Trainings that break off where a test says, and comparisons of what they leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from helpers import Augmented, assert_same_weights, image_set, tiny_network
from truefit import Recipe, Run, Trainer
from truefit.errors import Interrupted
from truefit.events import Event, Note, StepFinished
from truefit.recipes.recipe import EmaConfig, OptimizerConfig, ScheduleConfig

TIMES = ("seconds", "images_per_second", "schema")


class BrokeOffError(Exception):
    """What stands for a killed process within this one."""


def recipe(optimizer: Any = "adamw", schedule: Any = "one-cycle", ema: bool = False, **more: Any) -> Recipe:
    """Three epochs of six steps."""
    return Recipe(
        **{
            "epochs": 3,
            "batch_size": 4,
            "optimizer": OptimizerConfig(name=optimizer),
            "schedule": ScheduleConfig(name=schedule, patience=0),
            "ema": EmaConfig(decay=0.9, every=2) if ema else EmaConfig(),
            **more,
        }
    )


def train(how: Recipe, *, stop_after: int | None = None, augmented: bool = False, workers: int = 0, **fit: Any) -> Run:
    """Train a small network with dropout and BatchNorm; after `stop_after` steps of this call it breaks off."""
    steps = 0

    def stop(event: Event) -> None:
        nonlocal steps
        if isinstance(event, StepFinished):
            steps += 1
            if steps == stop_after:
                raise BrokeOffError

    trainer = Trainer(network(), how, workers=workers, observers=[stop, *fit.pop("observers", [])])
    images = Augmented(image_set(22)) if augmented else image_set(22)
    return trainer.fit(images, image_set(10, seed=1), **{"checkpoint_every": "1steps", **fit})


def network() -> nn.Module:
    return tiny_network(batchnorm=True, dropout=0.3)


def broken_off(how: Recipe, out: Path, after: int, **more: Any) -> None:
    """A run whose process, so to speak, was killed after so many steps."""
    try:
        train(how, stop_after=after, out=out, **more)
    except BrokeOffError:
        return
    raise AssertionError("the training did not come that far")


def ended_at(how: Recipe, out: Path, steps: int, **more: Any) -> None:
    """A run that SIGTERM ended, so that it saved, when so many steps of all were done."""

    def send(event: Event) -> None:
        if isinstance(event, StepFinished) and 6 * event.epoch + event.step + 1 == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        train(how, out=out, observers=[send], **more)
    except Interrupted:
        return
    raise AssertionError("the training did not end")


def notes(said: list[str]) -> Callable[[Event], None]:
    """An observer that keeps what is said."""

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    return listen


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what differs between equal runs; a history that was read has a schema in each line."""
    return [{name: value for name, value in line.items() if name not in TIMES} for line in history]


def assert_same_run(found: Run, wanted: Run) -> None:
    """Weights, history and figures are equal, bit for bit."""
    assert_same_weights(found.network, wanted.network)
    assert without_times(found.history) == without_times(wanted.history)
    assert found.weights == wanted.weights
    assert found.doctor == wanted.doctor
    if wanted.evaluation is not None:
        assert found.evaluation is not None
        assert found.evaluation.to_json() == wanted.evaluation.to_json()
        assert (found.evaluation.probabilities == wanted.evaluation.probabilities).all()


def longer(how: Recipe, epochs: int) -> Recipe:
    return replace(how, epochs=epochs)
