"""What an evaluation comes to, in a sentence: the same words in the report, the model card and a notebook."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from truefit.runs.evaluation import Evaluation

# What a notebook shows of each epoch.
SHOWN = ("training_loss", "running_accuracy", "validation_loss", "validation_accuracy")


def percent(fraction: float | None, digits: int = 1) -> str:
    """`86.4 %` for 0.864; `n/a` for None. Never rounded up to 100 or down to 0."""
    if fraction is None:
        return "n/a"
    value = 100 * fraction
    smallest = 10.0**-digits
    if 0 < value < smallest / 2:
        return f"< {smallest:.{digits}f} %"
    if 100 - smallest / 2 <= value < 100:
        return f"> {100 - smallest:.{digits}f} %"
    return f"{value:.{digits}f} %"


def between(interval: tuple[float, float] | list[float]) -> str:
    """`85.9 to 87.3 %`."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def verdict(evaluation: Evaluation, unit: str = "samples") -> str:
    """One sentence: accuracy, interval, n, split, which weights, and what they were selected on."""
    right = "have all their labels right" if evaluation.multi_label else "are classified correctly"
    return (
        f"{percent(evaluation.accuracy)} of {evaluation.n:,} {evaluation.split} {unit} {right} "
        f"(95 % Wilson interval {between(evaluation.interval)}), {selection(evaluation)}."
    )


def selection(evaluation: Evaluation) -> str:
    """`with the weights of epoch 4, the best on validation`."""
    found = re.fullmatch(r"(best|last) \(epoch (\d+)\)(, averaged over steps)?", evaluation.weights)
    if found is None:
        return f"with the weights {evaluation.weights}" + _selected_on(evaluation)
    which, epoch, averaged = found.groups()
    weights = "with the averaged weights" if averaged else "with the weights"
    if which == "last":
        return f"{weights} of the last epoch ({epoch}), which nothing selected"
    return f"{weights} of epoch {epoch}, selected on {evaluation.selected_on or 'nothing'}"


def _selected_on(evaluation: Evaluation) -> str:
    return f", selected on {evaluation.selected_on}" if evaluation.selected_on else ""


def caution(evaluation: Evaluation) -> str:
    """What a reader must know before quoting the figure; empty where there is nothing."""
    if evaluation.label_of_selection:
        return (
            f"The epoch was chosen on these very {evaluation.split} samples, so the figure flatters. "
            "A split that chose nothing tells the truth."
        )
    if evaluation.looks > 1:
        return (
            f"This run has looked at {evaluation.split} {evaluation.looks} times. "
            "Whatever was changed in between may have been fitted to it."
        )
    return ""


def small_html(evaluation: Evaluation | None, title: str, unit: str = "samples") -> str:
    """What a notebook shows: the figure, large, and its sentence."""
    if evaluation is None:
        return f"<div><strong>{escape(title)}</strong><br>not evaluated: neither validation nor test</div>"
    notice = caution(evaluation)
    figure = f'<strong style="font-size:1.6em">{escape(percent(evaluation.accuracy))}</strong>'
    more = f"<br><em>{escape(notice)}</em>" if notice else ""
    text = f"{escape(title)}<br>{escape(verdict(evaluation, unit))}{more}"
    return f'<div style="line-height:1.45">{figure} {text}</div>'


def history_html(history: list[dict[str, Any]]) -> str:
    """The epochs as a table: the last ten, where there are more."""
    if not history:
        return ""
    names = [name for name in SHOWN if any(record.get(name) is not None for record in history)]
    head = "".join(f'<th style="text-align:right">{name.replace("_", " ")}</th>' for name in ["epoch", *names])
    rows = []
    for record in history[-10:]:
        cells = [str(record["epoch"])]
        for name in names:
            value = record.get(name)
            cells.append("" if value is None else percent(value) if name.endswith("accuracy") else f"{value:.4f}")
        rows.append("<tr>" + "".join(f'<td style="text-align:right">{escape(cell)}</td>' for cell in cells) + "</tr>")
    earlier = f"<br>{len(history) - 10} earlier epochs are in its history" if len(history) > 10 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{earlier}"


def lines_html(text: str) -> str:
    """Lines for a notebook."""
    return f'<div style="white-space:pre-line;line-height:1.45">{escape(text)}</div>'
