"""The learning rate at the end of each epoch, where there are two or more."""

from __future__ import annotations

from truefit.report.chart import Chart, Line, Panel
from truefit.runs.record import Record


def chart(record: Record) -> Chart | None:
    """From the history of a run."""
    rows = [row for row in record.history if row.get("lr") is not None]
    if len(rows) < 2:
        return None
    rates = [row["lr"] for row in rows]
    return Chart(
        title="Learning rate",
        summary=f"At the end of each epoch: highest {max(rates):.3g}, at last {rates[-1]:.3g}.",
        panels=[
            Panel(
                x_label="epoch",
                y_label="learning rate",
                marks=[Line(x=[row["epoch"] for row in rows], y=rates, label="at the end of the epoch", role="figure")],
                y_range=(0.0, max(rates) * 1.05 or 1.0),
                whole_x=True,
            )
        ],
    )
