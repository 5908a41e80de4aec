"""What the commands print: for people, and one line for machines."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from truefit.data.views import averaged_over
from truefit.metrics.intervals import WILSON
from truefit.metrics.selective import Guarantee
from truefit.runs.evaluation import Evaluation
from truefit.runs.ledger import looks_here
from truefit.runs.seeds import SeedRuns


def human_stream(as_json: bool) -> TextIO:
    """Where text for people goes: stdout, but for `--json`, which has stdout for itself."""
    return sys.stderr if as_json else sys.stdout


def one_line(path: str) -> str:
    """A file's name for a table: control characters, which may break the line or the column, as `\\n` or `\\x1b`."""
    return "".join(letter if letter >= " " and letter != "\x7f" else ascii(letter)[1:-1] for letter in path)


def counted(number: int, noun: str) -> str:
    """Such as `1 run`, `2 runs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def print_json(value: dict[str, Any]) -> None:
    """One line on stdout."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def print_epochs(history: list[dict[str, Any]], chosen: int | None, stream: TextIO) -> None:
    """A table with a row for each epoch; the chosen one is marked."""
    if not history:
        return
    from rich.console import Console
    from rich.table import Table

    chosen_on_test = bool(history) and history[0].get("validation_split") == "test"
    split = "selected on test: test" if chosen_on_test else "validation"
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [
        "epoch",
        "training loss",
        "running accuracy",
        f"{split} loss",
        f"{split} accuracy",
        "seconds",
    ]
    for name in names:
        table.add_column(name, justify="right")
    for record in history:
        validation = record["validation_accuracy"]
        cells = [
            ("* " if record["epoch"] == chosen else "") + str(record["epoch"]),
            f"{record['training_loss']:.4f}",
            "" if record["running_accuracy"] is None else f"{record['running_accuracy']:.1%}",
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
    if evaluation.multi_label:
        every, precision = evaluation.measures["label_accuracy"], evaluation.measures["average_precision"]["macro"]
        shown = [
            ("average_precision macro (mAP)", precision["value"], precision["interval"]),
            ("label_accuracy", every["value"], every["interval"]),
        ]
        parts = [_with_interval(*figure) for figure in shown if figure[1] is not None and figure[2] is not None]
        f1 = evaluation.measures["macro_average"]["f1"]
        return "; ".join([*parts, *([] if f1 is None else [f"macro_average f1 {100 * f1:.1f} %"])])
    macro, areas = evaluation.measures["macro_average"], evaluation.measures["roc_auc"]["macro"]
    balanced = evaluation.measures["balanced_accuracy"]
    shown = [
        ("balanced_accuracy", balanced["value"], balanced["interval"]),
        ("macro_average f1", macro["f1"], macro["f1_interval"]),
        ("roc_auc macro", areas["value"], areas["interval"]),
    ]
    parts = [_with_interval(*figure) for figure in shown if figure[1] is not None]
    return "; ".join([*parts, f"expected_calibration_error {100 * evaluation.expected_calibration_error:.1f} %"])


def _with_interval(name: str, value: float, interval: list[float]) -> str:
    return f"{name} {100 * value:.1f} % [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def figure_line(evaluation: Evaluation) -> str:
    """The figure, and what it belongs to: `98.3 %  [97.0, 99.1]  n = 360 (test)`."""
    extra = [f"weights: {evaluation.weights}"]
    if evaluation.multi_label:
        extra.insert(0, "right where all labels of an image are right")
    averaged = averaged_over(evaluation.averaging)
    if averaged is not None:
        extra.append(averaged)
    if evaluation.uncalibrated is not None:
        before, after = evaluation.uncalibrated, evaluation.measures["calibration"]["expected_calibration_error"]
        extra.append(
            f"temperature {evaluation.temperature:.3f} (without: calibration error "
            f"{before['expected_calibration_error']:.1%}, loss {before['loss']:.4f}; with: {after:.1%}, "
            f"{evaluation.loss:.4f})"
        )
    method = "95 % Wilson interval" if evaluation.interval_method == WILSON else evaluation.interval_method
    return f"{evaluation}\n  {method}; {'; '.join(extra)}"


def looks_line(evaluation: Evaluation) -> str:
    """How often the split has been looked at: by this run, and by all runs that the ledger beside the data knows."""
    line = f"looks at {evaluation.split} so far: {evaluation.looks}"
    here = all_looks(evaluation)
    if here is None:
        return line
    return f"{line} (on this machine: {counted(here['looks'], 'look')} by {counted(here['runs'], 'run')})"


def all_looks(evaluation: Evaluation) -> dict[str, int] | None:
    """Looks at these samples, and the runs that looked, as the ledger beside the data has them; None without one."""
    # Not by the split's name: another folder may have one that is called like the run's own.
    here = looks_here(evaluation.fingerprint)
    return None if here is None else {"looks": here.looks, "runs": len(here.runs)}


def promise_line(guarantee: Guarantee) -> str:
    """What a threshold promises, and where that comes from."""
    assert guarantee.bound is not None
    return (
        f"sure from probability {guarantee.threshold:.3f}: {guarantee.correct:,} of {guarantee.answered:,} were right, "
        f"at least {guarantee.bound:.1%} with probability 0.95; {guarantee.coverage:.1%} of n = {guarantee.n:,} "
        "(the split that chose this threshold) were answered"
    )


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation for the machine-readable line."""
    names: tuple[str, ...] = (
        "split",
        "selected_on",
        "label",
        "weights",
        "averaging",
        "n",
        "correct",
        "accuracy",
        "interval",
        "interval_method",
        "loss",
        "temperature",
        "uncalibrated",
        "looks",
    )
    whole = evaluation.to_json()
    if evaluation.multi_label:
        names += ("task", "thresholds", "label_accuracy", "average_precision", "macro_average", "micro_average")
        return {name: whole[name] for name in names}
    further = {name: whole[name] for name in ("balanced_accuracy", "macro_average", "weighted_average", "brier_score")}
    error = {"expected_calibration_error": evaluation.expected_calibration_error}
    return {name: whole[name] for name in names} | further | error
