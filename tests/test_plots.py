"""Curves of a training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import truefit
from truefit import InputError, Run

LOG = {
    "training_loss_per_batch": [2.0, 1.8, 1.5, 1.2, 1.0, 0.9],
    "validation_loss_per_batch": [1.7, 1.1, 0.8],
    "training_accuracy_per_epoch": [0.4, 0.6, 0.8],
    "validation_accuracy_per_epoch": [0.35, 0.55, 0.7],
}


def record(epoch: int, validated: bool) -> dict[str, Any]:
    figures = {"loss": 1.0 / epoch, "accuracy": 0.5 + epoch / 10, "n": 1440, "interval": [0.4 + epoch / 10, 0.99]}
    return {
        "epoch": epoch,
        "training_loss": 2.0 / epoch,
        "running_accuracy": 0.3 + epoch / 10,
        **{f"validation_{name}": value if validated else None for name, value in figures.items()},
    }


class NoPredictor:
    network: Any = None

    def predict(self, images: Any) -> Any:
        raise NotImplementedError


def run_with(*, validated: bool = True, epochs: int = 3) -> Run:
    history = [record(epoch, validated) for epoch in range(1, epochs + 1)]
    return Run(
        folder=None,
        config={},
        history=history,
        evaluation=None,
        predictor=NoPredictor(),
        weights="last",
        selected_on=None,
    )


def lines(axes) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def test_run_shows_loss_and_accuracy_over_epochs():
    figure = truefit.plot(run_with())
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert loss.get_xlabel() == accuracy.get_xlabel() == "epoch"
    training, validation = lines(loss).values()
    assert training == ([1, 2, 3], [2.0, 1.0, 2.0 / 3])
    assert validation == ([1, 2, 3], [1.0, 0.5, 1.0 / 3])
    training, validation = lines(accuracy).values()
    assert training == ([1, 2, 3], [record(epoch, True)["running_accuracy"] for epoch in (1, 2, 3)])
    assert validation == ([1, 2, 3], [record(epoch, True)["validation_accuracy"] for epoch in (1, 2, 3)])


def test_validation_names_its_n_and_shows_its_interval():
    _, accuracy = truefit.plot(run_with()).axes
    labels = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert any("n = 1,440" in label for label in labels)
    assert any("95 % Wilson interval" in label for label in labels)
    (band,) = accuracy.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.5, 0.99)


def test_run_without_validation_shows_training_alone():
    loss, accuracy = truefit.plot(run_with(validated=False)).axes
    assert len(lines(loss)) == len(lines(accuracy)) == 1
    assert not accuracy.collections


@pytest.mark.parametrize("epochs", [0, 1])
def test_run_of_few_epochs_can_be_drawn(epochs, tmp_path):
    truefit.plot(run_with(epochs=epochs)).savefig(tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 1000


def test_log_of_the_class_shows_batches_and_epochs(tmp_path):
    figure = truefit.plot(LOG)
    loss, accuracy = figure.axes
    training, validation = lines(loss).values()
    assert training == ([0.5, 1.0, 1.5, 2.0, 2.5, 3.0], LOG["training_loss_per_batch"])
    assert validation == ([1.0, 2.0, 3.0], LOG["validation_loss_per_batch"])
    training, validation = lines(accuracy).values()
    assert training == ([1, 2, 3], LOG["training_accuracy_per_epoch"])
    assert validation == ([1, 2, 3], LOG["validation_accuracy_per_epoch"])
    figure.savefig(tmp_path / "log.png")
    assert (tmp_path / "log.png").stat().st_size > 1000


@pytest.mark.parametrize("wrong", [{}, {"training_loss_per_batch": [1.0]}, {**LOG, "validation_loss_per_batch": None}])
def test_what_is_no_log_is_an_input_error(wrong):
    if wrong.get("validation_loss_per_batch", 0) is None:
        del wrong["validation_loss_per_batch"]
    with pytest.raises(InputError, match="not a log"):
        truefit.plot(wrong)


def test_plotting_leaves_pyplot_and_its_global_state_alone(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import truefit
from test_plots import LOG, run_with
truefit.plot(LOG)
truefit.plot(run_with())
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
