"""--no-deterministic: settings tried out before the first step, remembered for the machine, and left to one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import CLASSES, SIDE, Stream, assert_same_weights, image_set, tiny_network
from truefit import InputError, Recipe, Run, Trainer
from truefit.commands.train import parse_train
from truefit.events import Event, Note, StepFinished
from truefit.fitting import others, quickest
from truefit.fitting.others import BusyNote, Others
from truefit.precision import Settings, threads

Tried = list[tuple[int, str]]


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

    recipe = Recipe(epochs=1, batch_size=16, precision=more.pop("precision", "auto"))
    free = more.pop("deterministic", False)
    network = more.pop("network", None) or tiny_network(dropout=0.3)
    trainer = Trainer(network, recipe, deterministic=free, observers=[listen])
    run = trainer.fit(
        more.pop("data", None) or image_set(128), out=out, report=False, checkpoint_every="1steps", **more
    )
    return run, said


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own for what is remembered, on a machine that is quiet unless a test says otherwise."""
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Others, "share", lambda self: 0.0)
    return tmp_path / "cache" / "settings"


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tried]:
    """Steps that take as long as the test says, by threads and precision; the list of what was tried."""

    def of(seconds: Callable[[int, str], float]) -> Tried:
        tried: Tried = []

        def trial(setup: Any, most: float, stand: float) -> float:
            settings: Settings = setup.settings
            assert torch.get_num_threads() == settings.threads
            tried.append((settings.threads, settings.training_precision))
            return seconds(*tried[-1])

        monkeypatch.setattr(quickest, "trial", trial)
        return tried

    return of


def test_it_is_really_tried_out_and_leaves_no_trace_but_the_settings(cache: Path) -> None:
    with threads(2):
        run, said = fit()
    chosen = run.config["settings"]["threads"]
    assert chosen in (1, 2)
    assert run.config["deterministic"] is False
    note = next(text for text in said if text.startswith("settings measured"))
    assert note.startswith(f"settings measured: {chosen} thread")
    assert "2 threads, float32: " in note
    assert "1 thread, float32: " in note
    kept = json.loads(next(cache.iterdir()).read_text())
    assert [row["threads"] for row in kept["tried"]] == [2, 1]
    assert kept["chosen"]["threads"] == chosen
    with threads(chosen):
        plain, _ = fit(deterministic=True)
    assert_same_weights(run.network, plain.network)
    assert run.history[0]["training_loss"] == plain.history[0]["training_loss"]


def test_the_run_is_made_with_what_was_quickest(times: Any) -> None:
    tried = times(lambda threads, precision: {8: 1.0, 4: 0.5, 2: 0.4, 1: 0.9}[threads])
    used: list[int] = []

    class Watched(torch.nn.Flatten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            used.append(torch.get_num_threads())
            return super().forward(x)

    with threads(8):
        run, _ = fit(network=torch.nn.Sequential(Watched(), torch.nn.Linear(3 * SIDE**2, CLASSES)))
        assert torch.get_num_threads() == 8
    # One after that is far from the best, nothing else was tried; and all of them twice.
    assert [count for count, _ in tried] == [8, 4, 2, 1] * 2
    assert run.config["settings"]["threads"] == 2
    assert set(used) == {2}


@pytest.mark.parametrize(("other", "chosen"), [(0.95, 2), (0.85, 1)])
def test_others_must_be_clearly_quicker(times: Any, other: float, chosen: int) -> None:
    times(lambda threads, precision: 1.0 if threads == 2 else other)
    with threads(2):
        run, _ = fit()
    assert run.config["settings"]["threads"] == chosen


def test_fewer_threads_are_not_tried_where_it_takes_far_longer(times: Any) -> None:
    tried = times(lambda threads, precision: 8 / threads)
    with threads(8):
        run, _ = fit()
    assert [count for count, _ in tried] == [8, 4] * 2
    assert run.config["settings"]["threads"] == 8


def test_the_precision_is_tried_where_the_recipe_leaves_it_open(times: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = times(lambda threads, precision: {"float32": 1.0, "float32-fast": 0.8, "bfloat16": 0.5}[precision])
    monkeypatch.setattr("truefit.fitting.setup.Setup.is_named", True)
    with threads(1):
        monkeypatch.setattr(quickest, "has_bfloat16", lambda device: False)
        assert fit(precision="fastest")[0].config["settings"]["training_precision"] != "float32"
        assert {precision for _, precision in tried} >= {"float32", "float32-fast"}
        tried.clear()
        monkeypatch.setattr(quickest, "has_bfloat16", lambda device: True)
        # The images are others: what was remembered does not count.
        run, _ = fit(precision="fastest", data=image_set(128, side=8))
        assert {precision for _, precision in tried} == {"float32", "float32-fast", "bfloat16"}
        assert run.config["settings"]["training_precision"] == "bfloat16"
        assert run.config["settings"]["precision"] == "float32"
        tried.clear()
        run, _ = fit(precision="auto", data=image_set(128, side=8))
        assert {precision for _, precision in tried} == {"float32"}


def test_what_was_measured_is_remembered_for_the_same_kind_of_run(times: Any, cache: Path) -> None:
    tried = times(lambda threads, precision: float(threads))
    with threads(2):
        assert fit()[0].config["settings"]["threads"] == 1
        assert tried
        tried.clear()
        run, said = fit()
        assert not tried
        assert run.config["settings"]["threads"] == 1
        assert "settings as measured here before: 1 thread, float32" in said
        fit(data=image_set(128, side=8))
        assert tried, "images of another size"
        tried.clear()
        for path in cache.iterdir():
            path.write_text("{")
        assert fit()[0].config["settings"]["threads"] == 1
        assert tried, "a damaged file"
    with threads(1):
        tried.clear()
        fit()
        assert tried, "another number of threads to begin with"


def test_on_a_busy_machine_it_is_for_this_run_alone(times: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times(lambda threads, precision: float(threads))
    monkeypatch.setattr(Others, "share", lambda self: 0.6)
    with threads(2):
        run, said = fit()
    assert run.config["settings"]["threads"] == 1
    assert "other work took 60% of the cores meanwhile: these settings are not kept for the next run" in said
    assert not cache.exists()


def test_without_a_cache_nothing_is_remembered(times: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    tried = times(lambda threads, precision: float(threads))
    with threads(2):
        fit()
        tried.clear()
        fit()
    assert tried


def test_going_on_takes_the_settings_of_the_run_and_measures_nothing(times: Any, tmp_path: Path, cache: Path) -> None:
    tried = times(lambda threads, precision: float(threads))
    with threads(2):
        whole, _ = fit(tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "run", stop_after=3)
        for path in cache.iterdir():
            path.unlink()
        tried.clear()
        times(lambda threads, precision: 1 / threads)
        run, _ = fit(tmp_path / "run", resume=True)
    assert not tried
    assert run.config["settings"]["threads"] == 1
    assert_same_weights(run.network, whole.network)


def test_a_training_set_without_a_length_follows_the_rules(times: Any) -> None:
    tried = times(lambda threads, precision: float(threads))
    with threads(2):
        run, said = fit(data=Stream(image_set(32)))
    assert not tried
    assert run.config["settings"]["threads"] == 2
    assert any("fixed rules" in text for text in said)


def test_fixed_rules_measure_nothing(times: Any) -> None:
    tried = times(lambda threads, precision: float(threads))
    fit(deterministic=True)
    assert not tried


def test_trainings_that_are_compared_are_refused() -> None:
    trainer = Trainer("convnet", deterministic=False)
    with pytest.raises(InputError, match=r"(?s)do not go with seeds.*--no-deterministic"):
        trainer.fit_seeds("digits", seeds=2)


def test_the_command_asks_for_it() -> None:
    assert parse_train(["digits", "--no-deterministic"]).resolved().deterministic is False
    assert parse_train(["digits"]).resolved().deterministic is True


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells how busy the cores are")


@linux
def test_the_work_of_others_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        time.sleep(0.3)
        seen = Others()
        time.sleep(1.0)
        assert 0.5 < seen.share() <= 1
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@linux
def test_its_own_work_is_not_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    own, tick = [1.0, 1.5], os.sysconf("SC_CLK_TCK")
    stat = tmp_path / "stat"
    monkeypatch.setattr(others, "STAT", stat)
    monkeypatch.setattr(others, "_own", lambda: own.pop(0))
    monkeypatch.setattr(others.time, "perf_counter", iter([0.0, 2.0]).__next__)
    monkeypatch.setattr(others.os, "sched_getaffinity", lambda pid: {0})
    # Two seconds, in which the first core was busy for one and a half; half a second of that was this process.

    def busy_for(seconds: float) -> None:
        stat.write_text(f"cpu 1 2 3 4\ncpu4711 9 9 9 9 9 9 9 9\ncpu0 {int(seconds * tick)} 0 0 900 800 0 0 0 5 5\n")

    busy_for(7)
    seen = Others()
    busy_for(8.5)
    assert seen.share() == pytest.approx((1.5 - 0.5) / 2)


def test_a_busy_machine_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "LOOK_AFTER", 0.0)
    said: list[str] = []

    def tell(event: Event) -> None:
        assert isinstance(event, Note)
        said.append(event.text)

    for share, times in ((0.1, 0), (0.7, 1)):
        monkeypatch.setattr(Others, "share", lambda self, share=share: share)
        note = BusyNote(tell)
        for _ in range(5):
            note(_step())
        assert len(said) == times
    assert said[0].startswith("other work takes 70% of the cores, and training waits for it")


def _step() -> StepFinished:
    return StepFinished.__new__(StepFinished)
