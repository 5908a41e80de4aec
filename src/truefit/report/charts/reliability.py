"""Whether the confidence can be believed: accuracy against confidence, and where the samples are."""

from __future__ import annotations

from truefit.metrics.intervals import wilson
from truefit.report.chart import Chart, Columns, Line, Panel
from truefit.runs.record import Record
from truefit.runs.words import percent


def chart(record: Record) -> Chart | None:
    """From the run's evaluation: a point for each of the bins that `metrics/calibration.py` fills."""
    evaluation = record.evaluation
    if evaluation is None or evaluation.multi_label:
        return None
    figures = evaluation.measures["calibration"]
    bins = figures["curve"]
    error, confidence = figures["expected_calibration_error"], figures["mean_confidence"]
    leaning = "too sure" if confidence > evaluation.accuracy else "too modest"
    return Chart(
        title=f"Reliability ({evaluation.split}, n = {evaluation.n:,})",
        summary=(
            f"Mean confidence {percent(confidence)}, accuracy {percent(evaluation.accuracy)}: {leaning} on the whole. "
            f"Expected calibration error {percent(error)}."
        ),
        panels=[
            Panel(
                x_label="confidence",
                y_label="accuracy",
                x_range=(0.0, 1.0),
                y_range=(0.0, 1.0),
                x_percent=True,
                y_percent=True,
                diagonal="perfectly calibrated",
                marks=[
                    Line(
                        x=[bin["confidence"] for bin in bins],
                        y=[bin["accuracy"] for bin in bins],
                        band=[wilson(round(bin["accuracy"] * bin["n"]), bin["n"]) for bin in bins],
                        label="accuracy in each bin",
                        band_label="95 % Wilson interval",
                        role="validation",
                        whiskers=True,
                        joined=False,
                    )
                ],
            ),
            Panel(
                x_label="confidence",
                y_label="share of samples",
                x_range=(0.0, 1.0),
                x_percent=True,
                y_percent=True,
                marks=[
                    Columns(
                        edges=[(bin["low"], bin["high"]) for bin in bins],
                        heights=[bin["n"] / evaluation.n for bin in bins],
                        label="share of samples in each bin",
                    )
                ],
            ),
        ],
    )
