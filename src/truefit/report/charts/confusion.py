"""The confusion matrix."""

from __future__ import annotations

from truefit.report.chart import Chart, Grid, Panel
from truefit.report.rows import worst_pairs
from truefit.runs.record import Record

# More classes than this can't be read as a matrix.
MOST = 60


def chart(record: Record) -> Chart | None:
    """From the run's evaluation; None with more classes than a matrix can show."""
    evaluation = record.evaluation
    if evaluation is None or evaluation.multi_label or len(evaluation.classes) > MOST:
        return None
    pairs = worst_pairs(evaluation)
    summary = "No mistakes."
    if pairs:
        true, chosen, count = pairs[0]
        names = evaluation.classes
        summary = f"Most frequent mistake: {names[true]} taken for {names[chosen]}, {count} times."
    return Chart(
        title=f"Confusion matrix ({evaluation.split}, n = {evaluation.n:,})",
        summary=summary,
        panels=[
            Panel(
                x_label="predicted class",
                y_label="true class",
                marks=[Grid(counts=evaluation.measures["confusion"], names=evaluation.classes)],
            )
        ],
    )
