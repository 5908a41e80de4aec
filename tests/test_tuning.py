"""A search that is gone on with: tries nothing twice, loses no default, and takes a better one than before."""

from __future__ import annotations

import math
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import optuna
import pytest

from truefit import InputError, Trainer, load_data
from truefit.commands import main
from truefit.data.imageset import Data, ImageSet
from truefit.errors import NonFiniteError
from truefit.report.build import write_report
from truefit.report.search import chart, read_search, shown
from truefit.runs.folder import RunFolder
from truefit.tuning import Tuned, tune


@pytest.fixture(scope="module")
def data() -> Data:
    train, validation = images("train", 60), images("validation", 20)
    return Data(name="made", spec="made", train=train, validation=validation, test=None, mirror=False)


def images(split: str, n: int) -> ImageSet:
    """Noise whose brightness is the class."""
    draw = np.random.default_rng(n)
    labels = np.arange(n) % 2
    pixels = draw.integers(0, 100, (n, 24, 24, 3)) + 40 * labels[:, None, None, None]
    return ImageSet(split=split, classes=("a", "b"), labels=labels, pixels=pixels.astype(np.uint8), image_size=24)


def trainer() -> Trainer:
    return Trainer("convnet", epochs=1, device="cpu", observers=[lambda event: None])


def check_page(out: Path, found: Tuned) -> None:
    """The page and its charts tell what the search found, and `truefit report` writes the same page."""
    html = (out / "report.html").read_text()
    assert found.comparison is None or found.comparison.verdict[:40] in unescape(html)
    assert [html.count(f'<th scope="row" class="number">{mark}') for mark in ("1", "* ")] == [
        int(found.improved),
        1,
    ]
    history, *slices = chart(read_search(out)).panels
    complete = [trial for trial in found.trials if trial["state"] == "complete"]
    values = [trial["accuracy"] for trial in complete]
    trials, best = history.marks
    assert (list(trials.x), list(trials.y)) == ([trial["number"] + 1 for trial in complete], values)
    assert list(best.y) == [max(values[: at + 1]) for at in range(len(values))]
    assert len(slices) == len(found.settings) == 4
    rates = next(panel for panel in slices if panel.x_label.startswith("learning rate"))
    assert list(rates.marks[0].x) == pytest.approx([math.log10(trial["lr"]) for trial in complete])
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == html


def test_a_search_chooses_the_batch_size_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not go with a search"):
        tune(Trainer("convnet", auto_batch_size=True), load_data("digits"), out=tmp_path / "tune")
    assert not (tmp_path / "tune").exists()


def test_batch_sizes_are_told_as_whole_numbers() -> None:
    assert [shown(value) for value in (1024, 0.0123456)] == ["1024", "0.0123"]


def test_a_search_whose_file_is_damaged_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "tune.json").write_text('{"schema": 1, "trials": [], "settings": {}}')
    with pytest.raises(InputError, match=r"tune.json is not whole(.|\n)*no default, sentence"):
        write_report([tmp_path])


def test_going_on_tries_other_settings_and_takes_a_better_one(tmp_path: Path, data: Data) -> None:
    out = tmp_path / "search"
    tune(trainer(), data, out=out, trials=2)
    again = tune(trainer(), data, out=out, trials=3)
    check_page(out, again)
    rates = [trial["lr"] for trial in again.trials]
    assert len(set(rates)) == 3
    # Any other settings than those that were best so far, as if they had been found by more trials.
    study = optuna.load_study(study_name="truefit", storage=f"sqlite:///{out / 'study.db'}")
    for lr, value in ((0.01, 1.0), (0.02, 2.0)):
        better = {**study.best_trial.params, "lr": lr}
        distributions = study.trials[0].distributions
        study.add_trial(optuna.trial.create_trial(params=better, distributions=distributions, value=value))
        found = tune(trainer(), data, out=out, trials=3)
        assert found.settings["lr"] == lr
        assert found.comparison is not None
        assert RunFolder.open(out / "best").read_config()["recipe"]["optimizer"]["lr"] == lr


def test_default_whose_trial_was_interrupted_is_tried_again(tmp_path: Path, data: Data, monkeypatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune(trainer(), data, out=tmp_path / "search", trials=2)
    found = tune(trainer(), data, out=tmp_path / "search", trials=2)
    default = trainer().recipe.optimizer.peak_lr
    assert [trial["state"] for trial in found.trials if trial["lr"] == default][1:] == ["complete"]


@pytest.mark.parametrize("wrong", ["lr", "size"])
def test_a_search_without_a_trial_that_was_done_leaves_nothing(tmp_path: Path, data: Data, wrong: str) -> None:
    out = tmp_path / "new" / "search"
    failing = trainer()
    if wrong == "lr":
        failing.recipe = replace(failing.recipe, optimizer=replace(failing.recipe.optimizer, lr=1e38))
        unfit = data
    else:
        unfit = replace(data, train=replace(data.train, image_size=7, pixels=data.train.pixels[:, :7, :7].copy()))
    for place in (out, tmp_path):
        with pytest.raises(InputError, match=r"not finite|wrong size"):
            tune(failing, unfit, out=place, trials=2)
        assert list(tmp_path.iterdir()) == []


def test_a_search_with_trials_that_were_done_stays_where_a_later_one_fails(
    tmp_path: Path, data: Data, monkeypatch
) -> None:
    fit, calls = Trainer.fit, []

    def fails_later(self: Trainer, *arguments: object, **options: object) -> object:
        calls.append(self)
        if len(calls) == 2:
            raise NonFiniteError("the loss is not finite", epoch=0, step=0, indices=None)
        return fit(self, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", fails_later)
        with pytest.raises(NonFiniteError):
            tune(trainer(), data, out=tmp_path / "search", trials=2)
    files = {path: path.read_bytes() for path in (tmp_path / "search").iterdir()}
    assert sorted(path.name for path in files) == ["ledger.jsonl", "study.db"]
    other = trainer()
    other.seed = 1
    with pytest.raises(InputError, match="other settings") as refused:
        tune(other, data, out=tmp_path / "search", trials=2)
    assert "remove this folder" not in str(refused.value)
    assert {path: path.read_bytes() for path in (tmp_path / "search").iterdir()} == files


def test_an_interrupted_search_shows_nothing_of_optunas(tmp_path: Path, data: Data, monkeypatch, caplog) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", interrupted)
    optuna.logging.enable_propagation()
    try:
        with pytest.raises(KeyboardInterrupt):
            tune(trainer(), data, out=tmp_path / "search", trials=2)
    finally:
        optuna.logging.disable_propagation()
    assert caplog.text == ""
    other = trainer()
    other.seed = 1
    with pytest.raises(InputError, match="or remove this folder: no trial in it is complete"):
        tune(other, data, out=tmp_path / "search", trials=2)
