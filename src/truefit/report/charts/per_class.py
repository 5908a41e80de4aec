"""How many of each class are found (recall), with intervals; the worst first."""

from __future__ import annotations

from truefit.report.chart import Chart, Panel, Rows
from truefit.runs.record import Record
from truefit.runs.words import percent

# Beyond this many, the worst are shown.
MOST = 40


def chart(record: Record) -> Chart | None:
    """From the run's evaluation; classes without samples are left out."""
    evaluation = record.evaluation
    if evaluation is None:
        return None
    rows = zip(evaluation.classes, evaluation.measures["per_class"], strict=True)
    known = sorted(((name, row) for name, row in rows if row["support"]), key=lambda item: item[1]["recall"])
    few = known[:MOST]
    worst, best = known[0], known[-1]
    which = "each class" if len(few) == len(known) else f"the {MOST} worst of {len(known):,} classes"
    return Chart(
        title=f"Recall of {which} ({evaluation.split}, n = {evaluation.n:,})",
        summary=f"From {percent(worst[1]['recall'])} ({worst[0]}) to {percent(best[1]['recall'])} ({best[0]}).",
        panels=[
            Panel(
                x_label="recall, with its 95 % Wilson interval",
                y_label="",
                x_range=(0.0, 1.0),
                x_percent=True,
                marks=[
                    Rows(
                        names=[name for name, _ in few],
                        values=[row["recall"] for _, row in few],
                        intervals=[tuple(row["recall_interval"]) for _, row in few],
                    )
                ],
            )
        ],
    )
