"""A training that was broken off and gone on with is the one that was not, bit for bit."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from parts import assert_same_run, broken_off, ended_at, recipe, train

from helpers import Stream, image_set, tiny_network
from truefit import Trainer
from truefit.checkpoint.container import read_container
from truefit.recipes.recipe import AugmentConfig, Recipe

CASES = [
    (optimizer, schedule, augmented, workers, ema)
    for optimizer, schedule, augmented, workers, ema in product(
        ("sgd", "adamw", "muon"), ("one-cycle", "reduce-on-plateau"), (False, True), (0, 2), (False, True)
    )
    # Worker processes take long to start: with them one case for each optimiser and kind of average.
    if workers == 0 or (augmented and schedule == "one-cycle")
]


@pytest.mark.parametrize(("optimizer", "schedule", "augmented", "workers", "ema"), CASES)
def test_rest_of_a_training_equals_that_of_one_never_broken_off(tmp_path, optimizer, schedule, augmented, workers, ema):
    how = recipe(optimizer, schedule, ema)
    wanted = train(how, augmented=augmented, out=tmp_path / "whole")
    # In the middle of an epoch, then once more right after the last step of another.
    broken_off(how, tmp_path / "run", 9, augmented=augmented, workers=workers)
    broken_off(how, tmp_path / "run", 4, augmented=augmented, workers=workers, resume=True)
    found = train(how, augmented=augmented, workers=workers, out=tmp_path / "run", resume=True)
    assert_same_run(found, wanted)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_state_after_going_on_equals_that_of_one_never_broken_off(tmp_path: Path, optimizer: str) -> None:
    """Optimiser, generators, average: what the checkpoint holds at the same step is the same, with its layout."""
    how = recipe(optimizer, ema=True)
    ended_at(how, tmp_path / "whole", 15)
    broken_off(how, tmp_path / "run", 8)
    ended_at(how, tmp_path / "run", 15, resume=True)
    name = "epoch-0003-step-000003.checkpoint"
    (plain, tensors), (again, others) = (
        read_container(tmp_path / run / "checkpoints" / name) for run in ("whole", "run")
    )
    for tree in (plain, again):
        tree["progress"]["pass"].pop("seconds")
        for line in tree["history"]:
            line.pop("seconds")
            line.pop("images_per_second")
    assert plain == again
    assert all(torch.equal(tensors[key], others[key]) for key in tensors)


def test_random_crops_and_mirrors_of_images_go_on_too(tmp_path: Path) -> None:
    how = recipe("muon", augment=AugmentConfig(flip=True, shift=0.2, brightness=0.1))
    wanted = train(how, out=tmp_path / "whole")
    broken_off(how, tmp_path / "run", 7)
    assert_same_run(train(how, out=tmp_path / "run", resume=True), wanted)


def test_a_stream_is_read_up_to_where_training_stood(tmp_path: Path) -> None:
    def fit(epochs: int, **more: object):
        how = Recipe(epochs=epochs, batch_size=4)
        return Trainer(tiny_network(dropout=0.3), how).fit(Stream(image_set(18)), image_set(8, seed=1), **more)

    class OnceError(Exception):
        pass

    steps = []

    def stop(event: object) -> None:
        if type(event).__name__ == "StepFinished":
            steps.append(event)
            if len(steps) == 8:
                raise OnceError

    wanted = fit(3)
    broken = Trainer(tiny_network(dropout=0.3), Recipe(epochs=3, batch_size=4), observers=[stop])
    with pytest.raises(OnceError):
        broken.fit(Stream(image_set(18)), image_set(8, seed=1), out=tmp_path / "run", checkpoint_every="1steps")
    assert_same_run(fit(3, out=tmp_path / "run", resume=True), wanted)


def test_a_run_killed_in_its_last_evaluation_finishes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = recipe("muon", ema=True)
    wanted = train(how)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("truefit.runs.folder.RunFolder.write_evaluation", killed)
        with pytest.raises(KeyboardInterrupt):
            train(how, out=tmp_path / "run")
    steps: list[object] = []
    found = train(how, out=tmp_path / "run", resume=True, observers=[steps.append])
    assert not [event for event in steps if type(event).__name__ == "StepFinished"]
    assert_same_run(found, wanted)


def test_early_stopping_stays_in_force(tmp_path: Path) -> None:
    how = recipe("sgd", epochs=12, early_stopping=1)
    wanted = train(how)
    assert len(wanted.history) < 12
    broken_off(how, tmp_path / "run", 6 * len(wanted.history) - 2)
    assert_same_run(train(how, out=tmp_path / "run", resume=True), wanted)
