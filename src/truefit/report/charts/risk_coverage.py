"""What is gained by answering only when sure: the error among the most confident part of the samples."""

from __future__ import annotations

import numpy as np

from truefit.report.chart import Chart, Line, Panel
from truefit.report.rows import confidence_of
from truefit.runs.record import Record
from truefit.runs.words import percent

POINTS = 100


def chart(record: Record) -> Chart | None:
    """Selective risk at each coverage: Geifman and El-Yaniv (2017), "Selective classification for deep neural
    networks", equation 2, with the probability of the predicted class as confidence."""
    evaluation = record.evaluation
    if evaluation is None or evaluation.multi_label:
        return None
    n = evaluation.n
    wrong = evaluation.predicted != evaluation.label
    confidence = confidence_of(evaluation)
    order = np.argsort(-confidence, kind="stable")
    # Samples of equal confidence can't be told apart: each counts with the mean error of them all.
    _, group, count = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    risk = np.cumsum((np.bincount(group, weights=wrong[order]) / count)[group]) / np.arange(1, n + 1)
    at = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(np.int64))
    area = evaluation.measures.get("risk_coverage", {}).get("area")
    half = float(risk[max(0, n // 2 - 1)])
    return Chart(
        title=f"Risk and coverage ({evaluation.split}, n = {n:,})",
        summary=(
            f"Answering always, {percent(float(risk[-1]))} are wrong; answering only the surest half, {percent(half)}."
            + (f" Area under the curve (AURC): {area:.4f}." if area is not None else "")
        ),
        panels=[
            Panel(
                x_label="coverage: share answered, the surest first",
                y_label="risk: share of these that is wrong",
                x_range=(0.0, 1.0),
                y_range=(0.0, max(float(risk[at].max()) * 1.1, 0.01)),
                x_percent=True,
                y_percent=True,
                marks=[
                    Line(
                        x=((at + 1) / n).tolist(),
                        y=risk[at].tolist(),
                        label="error among those answered",
                        role="validation",
                        dots=False,
                    )
                ],
            )
        ],
    )
