"""What --resume does with what it finds: goes on, begins anew, does nothing, or refuses."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import BrokeOffError, assert_same_run, broken_off, ended_at, longer, network, notes, recipe, train

from helpers import image_set
from truefit import InputError, Run, Trainer, load
from truefit.checkpoint.store import Store
from truefit.events import Event, Observer, Progress, nobody
from truefit.precision import threads
from truefit.recipes.recipe import EmaConfig, ScheduleConfig, SwaConfig
from truefit.runs.folder import RunFolder


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "an empty config", "no checkpoint"])
def test_where_nothing_is_to_go_on_from_a_run_begins(tmp_path: Path, left: str) -> None:
    out = tmp_path / "run"
    if left == "an empty folder":
        out.mkdir()
    elif left == "an empty config":
        out.mkdir()
        (out / "config.json").write_text("")
    elif left == "no checkpoint":
        broken_off(recipe(), out, 9, checkpoint_every="never")
        assert not (out / "checkpoints").exists()
    assert_same_run(train(recipe(), out=out, resume=True), train(recipe()))
    assert len(load(out, network=train(recipe()).network).history) == 3


def test_a_finished_run_is_given_as_it_is_and_that_is_said(tmp_path: Path) -> None:
    wanted = train(recipe(ema=True), out=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    said: list[str] = []
    found = train(recipe(ema=True), out=tmp_path, resume=True, observers=[notes(said)], stop_after=1)
    assert_same_run(found, wanted)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert "nothing to do" in said[-1]


def test_where_it_goes_on_from_is_said(tmp_path: Path) -> None:
    ended_at(recipe(), tmp_path, 9)
    said: list[str] = []
    train(recipe(), out=tmp_path, resume=True, observers=[notes(said)])
    assert any("going on from epoch 2, step 4" in text for text in said)


def test_the_threads_of_the_run_are_kept_and_that_is_said(tmp_path: Path) -> None:
    with threads(2):
        ended_at(recipe(), tmp_path, 9)
    said: list[str] = []
    with threads(1):
        found = train(recipe(), out=tmp_path, resume=True, observers=[notes(said)])
    assert found.config["settings"]["threads"] == 2
    assert "2 threads, as the run began with, not 1: the rest is the same bit for bit" in said


def test_changed_settings_are_listed_and_refused(tmp_path: Path) -> None:
    broken_off(recipe(), tmp_path, 9)
    before = sorted(tmp_path.rglob("*"))
    changed = replace(recipe(), batch_size=8, ema=EmaConfig(decay=0.5))
    with pytest.raises(InputError) as refused:
        train(changed, out=tmp_path, resume=True)
    assert "recipe.batch_size: 4 -> 8" in str(refused.value)
    assert "recipe.ema.decay: None -> 0.5" in str(refused.value)
    assert "epochs" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("schedule", ["constant", "step", "reduce-on-plateau"])
def test_a_finished_run_can_be_made_longer_where_the_schedule_permits(tmp_path: Path, schedule: str) -> None:
    how = recipe("muon", schedule)
    train(how, out=tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    found, wanted = train(longer(how, 5), out=tmp_path, resume=True), train(longer(how, 5))
    # The evaluation after epoch 3 was a look too.
    assert found.evaluation is not None
    assert wanted.evaluation is not None
    assert found.evaluation.looks == wanted.evaluation.looks + 1
    assert_same_run(replace(found, evaluation=replace(found.evaluation, looks=wanted.evaluation.looks)), wanted)
    assert json.loads((tmp_path / "config.json").read_text())["recipe"]["epochs"] == 5
    assert (tmp_path / "evaluations" / "after-epoch-3" / "evaluation.json").is_file()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("swa.start", {"swa": SwaConfig(start=0.5)}),
        ("schedule.warmup", {"schedule": ScheduleConfig(name="constant", warmup=0.3)}),
    ],
)
def test_what_begins_at_a_part_of_the_training_cannot_be_made_longer(
    tmp_path: Path, what: str, change: dict[str, Any]
) -> None:
    how = replace(recipe("sgd", "constant"), **change)
    train(how, out=tmp_path)
    with pytest.raises(InputError, match=f"{what} can't be made longer"):
        train(longer(how, 5), out=tmp_path, resume=True)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_a_schedule_laid_out_over_the_epochs_cannot_be_made_longer(tmp_path: Path, schedule: str) -> None:
    how = recipe("muon", schedule)
    train(how, out=tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(InputError, match="can't be made longer"):
        train(longer(how, 5), out=tmp_path, resume=True)


def test_lines_after_the_checkpoint_and_temporary_files_are_dropped(tmp_path: Path) -> None:
    broken_off(recipe(), tmp_path, 14, checkpoint_every="never")
    lines = (tmp_path / "history.jsonl").read_text()
    assert lines.count("\n") == 2
    other = tmp_path / "other"
    broken_off(recipe(), other, 9)
    (other / "history.jsonl").write_text(lines + '{"schema": 1, "epo')
    (other / "model" / ".weights.safetensors.tmp.safetensors").write_bytes(b"half")
    (other / "checkpoints" / ".epoch-0009-step-000001.checkpoint.tmp.checkpoint").write_bytes(b"half")
    train(recipe(), out=other, resume=True)
    assert not list(other.rglob(".*"))
    assert len((other / "history.jsonl").read_text().splitlines()) == 3


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        train(recipe(), out=tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_new_run_starts_from_another_runs_weights_and_says_so(tmp_path: Path) -> None:
    first = Trainer("convnet", epochs=1).fit("digits", out=tmp_path / "first")
    second = Trainer("convnet", epochs=1, weights_from=tmp_path / "first").fit("digits", out=tmp_path / "second")
    about = json.loads((tmp_path / "second" / "config.json").read_text())["from"]
    assert about["weights"] == first.weights
    assert second.history[0]["training_loss"] < first.history[0]["training_loss"]
    with pytest.raises(InputError, match="do not fit"):
        Trainer("resnet18", epochs=1, weights_from=tmp_path / "first").fit("digits")
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="pickle"):
        Trainer("convnet", epochs=1, weights_from=tmp_path / "weights.pt").fit("digits")


def test_a_replaced_run_whose_replacement_was_killed_comes_back_or_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe("sgd"), out=out)
    (tmp_path / ".run.replaced-999999").mkdir()
    for place in list(out.iterdir()):
        place.rename(tmp_path / ".run.replaced-999999" / place.name)
    (out / "config.json").write_text("")
    with pytest.raises(BrokeOffError):
        train(recipe("muon"), out=out, overwrite=True, stop_after=2, checkpoint_every="never")
    # The second replacement came to nothing either: the first run is there again, whole.
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert RunFolder.open(out).read_config()["recipe"]["optimizer"]["name"] == "sgd"
    assert load(out, network=train(recipe("sgd")).network).evaluation is not None


def test_checkpoint_that_is_still_being_written_when_a_training_breaks_off_is_kept(tmp_path, monkeypatch):
    write = Store.write

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.2)
        return write(*arguments)

    monkeypatch.setattr(Store, "write", slowly)
    broken_off(recipe("muon"), tmp_path / "run", 2)
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    assert_same_run(train(recipe("muon"), out=tmp_path / "run", resume=True), train(recipe("muon")))


def test_going_on_with_a_replacement_that_was_killed_finishes_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe("sgd"), out=out)
    broken_off(recipe("muon"), out, 3, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 2
    assert_same_run(train(recipe("muon"), out=out, resume=True), train(recipe("muon")))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_done_again_after_the_last_epoch_counts_as_one_look(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.split == "test":
            raise BrokeOffError

    def calibrated(out: Path, observers: list[Observer], **fit: bool) -> Run:
        trainer = Trainer(network(), recipe(), calibrate=True, observers=observers)
        images, validation, test = (image_set(22, seed=seed) for seed in range(3))
        return trainer.fit(images, validation, test_set=test, out=out, select_on="validation", **fit)

    with pytest.raises(BrokeOffError):
        calibrated(tmp_path / "run", [stop])
    calibrated(tmp_path / "run", [nobody], resume=True)
    calibrated(tmp_path / "whole", [nobody])
    ledgers = [(tmp_path / name / "ledger.jsonl").read_bytes() for name in ("run", "whole")]
    assert ledgers[0] == ledgers[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device on this machine")
def test_a_run_that_was_begun_on_a_gpu_is_not_gone_on_with_without_one(tmp_path: Path) -> None:
    broken_off(recipe("sgd"), tmp_path / "run", 3)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    before = config.read_text()
    with pytest.raises(InputError, match="begun on a GPU"):
        train(recipe("sgd"), out=tmp_path / "run", resume=True)
    assert config.read_text() == before
