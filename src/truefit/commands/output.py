"""What the commands print: for people, and one line for machines."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from truefit.runs.evaluation import Evaluation
from truefit.runs.seeds import SeedRuns


def human_stream(as_json: bool) -> TextIO:
    """Where text for people goes: stdout, but for `--json`, which has stdout for itself."""
    return sys.stderr if as_json else sys.stdout


def one_line(path: str) -> str:
    """A file's name for a table: control characters, which may break the line or the column, as `\\n` or `\\x1b`."""
    return "".join(letter if letter >= " " and letter != "\x7f" else ascii(letter)[1:-1] for letter in path)


def print_json(value: dict[str, Any]) -> None:
    """One line on stdout."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def print_epochs(history: list[dict[str, Any]], chosen: int | None, stream: TextIO) -> None:
    """A table with a row for each epoch; the chosen one is marked."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [
        "epoch",
        "training loss",
        "running accuracy",
        "validation loss",
        "validation accuracy",
        "seconds",
    ]
    for name in names:
        table.add_column(name, justify="right")
    for record in history:
        validation = record["validation_accuracy"]
        cells = [
            ("* " if record["epoch"] == chosen else "") + str(record["epoch"]),
            f"{record['training_loss']:.4f}",
            f"{record['running_accuracy']:.1%}",
            "" if validation is None else f"{record['validation_loss']:.4f}",
            "" if validation is None else f"{validation:.1%}",
            f"{record['seconds']:.1f}",
        ]
        table.add_row(*cells)
    Console(file=stream, highlight=False).print(table)


def print_seeds(seeds: SeedRuns, stream: TextIO) -> None:
    """A table with a row for each seed, then the mean with its spread over seeds and over samples."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("seed", "accuracy", "95 % over samples", "loss", "weights"):
        table.add_column(name, justify="right")
    for seed, evaluation in seeds.evaluations.items():
        low, high = evaluation.interval
        bounds = f"[{100 * low:.1f}, {100 * high:.1f}]"
        table.add_row(
            str(seed), f"{100 * evaluation.accuracy:.1f} %", bounds, f"{evaluation.loss:.4f}", evaluation.weights
        )
    Console(file=stream, highlight=False).print(table)
    print(seeds, file=stream)


def further_line(evaluation: Evaluation) -> str:
    """The further figures of the whole, under their names in evaluation.json, fractions as per cent."""
    macro, areas = evaluation.measures["macro_average"], evaluation.measures["roc_auc"]["macro"]
    balanced = evaluation.measures["balanced_accuracy"]
    shown = [
        ("balanced_accuracy", balanced["value"], balanced["interval"]),
        ("macro_average f1", macro["f1"], macro["f1_interval"]),
        ("roc_auc macro", areas["value"], areas["interval"]),
    ]
    parts = [
        f"{name} {100 * value:.1f} % [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
        for name, value, interval in shown
        if value is not None
    ]
    return "; ".join([*parts, f"expected_calibration_error {100 * evaluation.expected_calibration_error:.1f} %"])


def figure_line(evaluation: Evaluation) -> str:
    """The figure, and what it belongs to: `98.3 %  [97.0, 99.1]  n = 360 (test)`."""
    extra = [f"weights: {evaluation.weights}"]
    if evaluation.averaging == "flip":
        extra.append("averaged over each image and its mirror image")
    return f"{evaluation}\n  95 % Wilson interval; {'; '.join(extra)}"


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation for the machine-readable line."""
    names = (
        "split",
        "selected_on",
        "weights",
        "averaging",
        "n",
        "correct",
        "accuracy",
        "interval",
        "loss",
        "looks",
    )
    whole = evaluation.to_json()
    further = {name: whole[name] for name in ("balanced_accuracy", "macro_average", "weighted_average", "brier_score")}
    error = {"expected_calibration_error": evaluation.expected_calibration_error}
    return {name: whole[name] for name in names} | further | error
