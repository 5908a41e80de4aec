"""Loss and accuracy over the epochs, with the chosen epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from truefit.errors import InputError
from truefit.report.chart import Chart, Line, Panel
from truefit.runs.record import Record
from truefit.runs.words import percent


def chart(record: Record) -> Chart:
    """From the history of a run."""
    history = record.history
    epochs = [row["epoch"] for row in history]
    loss = [
        Line(
            x=epochs,
            y=[row["training_loss"] for row in history],
            label="training (with augmentation)",
            role="training",
        )
    ]
    accuracy = []
    running = [(row["epoch"], row["running_accuracy"]) for row in history if row["running_accuracy"] is not None]
    if running:
        x, y = zip(*running, strict=True)
        accuracy.append(Line(x=x, y=y, label="training, in passing", role="training"))
    validated = [row for row in history if row["validation_accuracy"] is not None]
    summary = "1 epoch." if len(history) == 1 else f"{len(history)} epochs."
    if len(history) > 1:
        first, last = history[0]["training_loss"], history[-1]["training_loss"]
        summary += f" Training loss {first:.3f} at first, {last:.3f} at last."
    if validated:
        at = [row["epoch"] for row in validated]
        loss.append(Line(x=at, y=[row["validation_loss"] for row in validated], label="validation", role="validation"))
        accuracy.append(
            Line(
                x=at,
                y=[row["validation_accuracy"] for row in validated],
                label=f"{_split(validated[0])}, n = {validated[0]['validation_n']:,}",
                role="validation",
                band=[tuple(row["validation_interval"]) for row in validated],
                band_label="its 95 % Wilson interval",
            )
        )
        best = max(validated, key=lambda row: row["validation_accuracy"])
        summary += f" Highest validation accuracy {percent(best['validation_accuracy'])}, in epoch {best['epoch']}."
    rule = None
    if record.chosen_epoch is not None:
        rule = (float(record.chosen_epoch), f"chosen: epoch {record.chosen_epoch}")
    return Chart(
        title="Loss and accuracy",
        summary=summary,
        panels=[
            Panel(x_label="epoch", y_label="loss", marks=loss, whole_x=True, rule=rule),
            Panel(x_label="epoch", y_label="accuracy", marks=accuracy, whole_x=True, y_percent=True, rule=rule),
        ],
    )


def _split(row: dict[str, Any]) -> str:
    """What the epochs were measured on, where it is another split than validation."""
    split = row.get("validation_split") or "validation"
    return "validation" if split == "validation" else f"{split} (selected on {split})"


def of_log(log: Mapping[str, Any]) -> Chart:
    """From the log that `ConvolutionalNeuralNet.train` returns: losses of batches, accuracies of epochs."""
    loss, accuracy = [], []
    for split in ("training", "validation"):
        try:
            losses, accuracies = log[f"{split}_loss_per_batch"], log[f"{split}_accuracy_per_epoch"]
        except KeyError as error:
            raise InputError(
                "this is not a log", found=f"no key {error}", wanted="what ConvolutionalNeuralNet.train returns"
            ) from None
        epochs = len(accuracies)
        per_epoch = max(1, len(losses) // max(1, epochs))
        at = [(batch + 1) / per_epoch for batch in range(len(losses))]
        loss.append(Line(x=at, y=losses, label=f"{split}, per batch", role=split, dots=False))
        accuracy.append(Line(x=list(range(1, epochs + 1)), y=accuracies, label=split, role=split))
    return Chart(
        title="Loss and accuracy",
        summary="Loss of each batch, and accuracy after each epoch.",
        panels=[
            Panel(x_label="epoch", y_label="loss", marks=loss, whole_x=True),
            Panel(x_label="epoch", y_label="accuracy", marks=accuracy, whole_x=True, y_percent=True),
        ],
    )


def of_runs(records: Sequence[Record], names: Sequence[str]) -> Chart:
    """Several runs on one pair of axes: validation where it was measured, else training."""
    panels = []
    for figure, fallback in (("loss", "training_loss"), ("accuracy", "running_accuracy")):
        lines = []
        for number, (record, name) in enumerate(zip(records, names, strict=True)):
            key = f"validation_{figure}"
            measured = [(row["epoch"], row[key]) for row in record.history if row[key] is not None]
            label = name
            if not measured:
                measured = [(row["epoch"], row[fallback]) for row in record.history if row[fallback] is not None]
                label = f"{name} (training)"
            if measured:
                x, y = zip(*measured, strict=True)
                lines.append(Line(x=x, y=y, label=label, role=f"run {number}"))
        panels.append(
            Panel(
                x_label="epoch",
                y_label=f"validation {figure}",
                marks=lines,
                whole_x=True,
                y_percent=figure == "accuracy",
            )
        )
    return Chart(
        title="Validation loss and accuracy",
        summary=f"Curves of {len(records)} runs; their last values stand in the table of epochs of each run.",
        panels=panels,
    )
