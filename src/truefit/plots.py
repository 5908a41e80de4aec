"""Curves of a training: loss and accuracy over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from truefit.errors import InputError
from truefit.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(run_or_log: Run | Mapping[str, Any]) -> Figure:
    """Loss and accuracy of a `Run`, or of the log that `ConvolutionalNeuralNet.train` returns.

    Returns a matplotlib figure with two axes, made without pyplot: a notebook shows it, `.savefig(path)` writes it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if isinstance(run_or_log, Run):
        _draw_run(left, right, run_or_log)
    else:
        _draw_log(left, right, run_or_log)
    left.set_ylabel("loss")
    right.set_ylabel("accuracy")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def _draw_run(left: Any, right: Any, run: Run) -> None:
    history = run.history
    epochs = [record["epoch"] for record in history]
    left.plot(epochs, [record["training_loss"] for record in history], marker=".", label="training (with augmentation)")
    right.plot(epochs, [record["running_accuracy"] for record in history], marker=".", label="training, in passing")
    if history and history[0]["validation_accuracy"] is not None:
        left.plot(epochs, [record["validation_loss"] for record in history], marker=".", label="validation")
        accuracy = [record["validation_accuracy"] for record in history]
        low, high = zip(*[record["validation_interval"] for record in history], strict=True)
        (line,) = right.plot(epochs, accuracy, marker=".", label=f"validation, n = {history[0]['validation_n']:,}")
        right.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2, label="its 95 % Wilson interval")


def _draw_log(left: Any, right: Any, log: Mapping[str, Any]) -> None:
    for split in ("training", "validation"):
        try:
            losses, accuracy = log[f"{split}_loss_per_batch"], log[f"{split}_accuracy_per_epoch"]
        except KeyError as error:
            raise InputError(
                "this is not a log", found=f"no key {error}", wanted="what ConvolutionalNeuralNet.train returns"
            ) from None
        epochs = len(accuracy)
        per_epoch = max(1, len(losses) // max(1, epochs))
        left.plot(
            [(batch + 1) / per_epoch for batch in range(len(losses))], losses, lw=0.7, label=f"{split}, per batch"
        )
        right.plot(range(1, epochs + 1), accuracy, marker=".", label=split)
