"""--batch-size auto: tried out before the first step, recorded, and never tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import Stream, assert_same_weights, image_set, tiny_network
from truefit import InputError, Recipe, Run, Trainer, find_recipe
from truefit.commands import main
from truefit.commands.train import parse_train
from truefit.events import Event, Note, StepFinished
from truefit.fitting import batch_size
from truefit.fitting.batch_size import candidates, quickest

SAMPLES = 256


def fit(out: Path | None = None, *, stop_after: int | None = None, **more: Any) -> tuple[Run, list[str]]:
    """One epoch of a small network, and the notes said on the way."""
    said: list[str] = []
    steps = 0

    def listen(event: Event) -> None:
        nonlocal steps
        if isinstance(event, Note):
            said.append(event.text)
        elif isinstance(event, StepFinished):
            steps += 1
            if steps == stop_after:
                raise KeyboardInterrupt

    auto = more.pop("auto_batch_size", True)
    recipe = Recipe(epochs=1, batch_size=more.pop("size", 64))
    trainer = Trainer(tiny_network(dropout=0.3), recipe, auto_batch_size=auto, observers=[listen])
    run = trainer.fit(image_set(SAMPLES), out=out, report=False, checkpoint_every="1steps", **more)
    return run, said


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Steps that take as long as the test says, by batch size; the list of what was tried."""

    def of(seconds: Callable[[int], float]) -> list[int]:
        tried: list[int] = []

        def trial(setup: Any, most: float, stand: float) -> float:
            tried.append(setup.recipe.batch_size)
            return seconds(setup.recipe.batch_size)

        monkeypatch.setattr(batch_size, "trial", trial)
        return tried

    return of


def test_it_is_really_tried_out_and_the_rest_is_a_training_with_that_number(tmp_path: Path) -> None:
    run, said = fit(tmp_path / "auto")
    chosen = run.config["recipe"]["batch_size"]
    assert chosen in (16, 32)
    assert run.config["auto_batch_size"] is True
    note = next(text for text in said if text.startswith("batch size"))
    assert note.startswith(f"batch size {chosen} (images/s with 16: ")
    assert "the learning rate stays 0.002" in note
    # Trying leaves no trace: neither in the weights nor in any generator.
    plain, _ = fit(auto_batch_size=False, size=chosen)
    assert_same_weights(run.network, plain.network)
    assert run.history[0]["training_loss"] == plain.history[0]["training_loss"]


def test_going_on_takes_the_number_from_the_run_and_tries_nothing(tmp_path: Path, rates: Any) -> None:
    rates(lambda size: 1.0 if size == 16 else 0.1)
    whole, _ = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", stop_after=3)
    tried = rates(lambda size: 1.0)
    run, said = fit(tmp_path / "run", resume=True)
    assert tried == []
    assert not any(text.startswith("batch size") for text in said)
    assert run.config["recipe"]["batch_size"] == whole.config["recipe"]["batch_size"] == 32
    assert_same_weights(run.network, whole.network)
    # Named as a number it is the same run.
    again, _ = fit(tmp_path / "run", resume=True, auto_batch_size=False, size=32)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["batch_size"] == 32
    assert_same_weights(again.network, whole.network)


def test_a_run_whose_config_is_damaged_is_refused_in_words(tmp_path: Path, rates: Any) -> None:
    rates(lambda size: 1.0)
    fit(tmp_path / "run")
    place = tmp_path / "run" / "config.json"
    config = json.loads(place.read_text())
    place.write_text(json.dumps({name: value for name, value in config.items() if name != "recipe"}))
    with pytest.raises(InputError, match="recipe"):
        fit(tmp_path / "run", resume=True)


def test_what_does_not_fit_ends_the_search(rates: Any) -> None:
    def seconds(size: int) -> float:
        if size > 16:
            raise torch.OutOfMemoryError("no memory")
        return 1.0

    assert rates(seconds) == []
    run, said = fit()
    assert run.config["recipe"]["batch_size"] == 16
    assert any("32 do not fit in memory" in text for text in said)


def test_sizes_whose_trial_would_take_long_are_not_tried(rates: Any) -> None:
    tried = rates(lambda size: size / 5)
    assert fit()[0].config["recipe"]["batch_size"] == 16
    assert tried == [16]


def test_the_search_ends_after_two_larger_sizes_that_are_slower(rates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "SIZES", (4, 8, 16, 32))
    tried = rates(lambda size: size * size / 1000)
    assert fit()[0].config["recipe"]["batch_size"] == 4
    assert tried == [4, 8, 16]


def test_other_errors_of_a_trial_come_through(rates: Any) -> None:
    def seconds(size: int) -> float:
        raise RuntimeError("of the network")

    rates(seconds)
    with pytest.raises(RuntimeError, match="of the network"):
        fit()


def test_sizes_leave_an_epoch_enough_steps_and_a_part_a_sample() -> None:
    assert candidates(50_000, 1) == [16, 32, 64, 128, 256, 512, 1024]
    assert candidates(256, 1) == [16, 32]
    assert candidates(2_000, 100) == [128]
    assert candidates(10, 1) == [10]
    assert candidates(50, 20) == [20]


def test_a_smaller_size_is_taken_where_it_is_nearly_as_quick() -> None:
    assert quickest({16: 500.0, 32: 960.0, 64: 1000.0, 128: 940.0}) == 32
    assert quickest({16: 500.0, 32: 940.0, 64: 1000.0}) == 64


def test_it_is_refused_where_it_can_not_be_tried() -> None:
    trainer = Trainer(tiny_network(), Recipe(epochs=1), auto_batch_size=True)
    with pytest.raises(InputError, match="without a length"):
        trainer.fit(Stream(image_set(20)))
    with pytest.raises(InputError, match="does not go with seeds"):
        Trainer("convnet", auto_batch_size=True).fit_seeds(image_set(20), seeds=2, out="nowhere")


@pytest.mark.parametrize(
    "words", [["--batch-size", "auto"], ["--batch-size=auto"], ["--batch_size", "auto"], ["--auto-batch-size"]]
)
def test_the_command_knows_it_and_prints_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = parse_train(["digits", *words, "--epochs", "2"])
    assert (command.config.auto_batch_size, command.config.recipe.epochs) == (True, 2)
    assert main(["train", *words, "--print-config"]) == 0
    assert "auto_batch_size: true" in capsys.readouterr().out
    assert parse_train(["digits", "--batch-size", "32"]).config.auto_batch_size is False


def test_a_config_file_may_say_it_in_the_place_of_the_number(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("auto_batch_size: false\nrecipe: {batch_size: auto, epochs: 2}")  # as --print-config has it
    config = parse_train(["--config", str(file)]).config
    assert (config.auto_batch_size, config.recipe.epochs) == (True, 2)
    assert config.recipe.batch_size == find_recipe("standard").batch_size
    file.write_text("recipe: {batch_size: many}")
    with pytest.raises(InputError, match="batch_size"):
        parse_train(["--config", str(file)])
