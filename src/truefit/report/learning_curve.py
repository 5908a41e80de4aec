"""The page of a learning curve: accuracy over training images, and whether more of them would help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truefit.report import svg
from truefit.report.chart import Chart, Line, Panel
from truefit.report.of_folder import FolderReport, read_needed
from truefit.report.templates import render
from truefit.runs.words import between, percent

FILE = "learning_curve.json"
NEEDED = ("points", "curve_band", "forecast", "trustworthy", "sentence", "split", "label", "n", "model", "recipe")


def report_of(folder: Path) -> FolderReport | None:
    """The report of a folder that `truefit train --learning-curve` wrote; None of any other.

    Raises InputError where its file is damaged.
    """
    if not (folder / FILE).is_file():
        return None
    curve = read_needed(folder / FILE, NEEDED, "truefit train --learning-curve")
    return FolderReport(
        chart=chart(curve),
        page=lambda: page(folder.resolve().name, curve),
        found="a learning curve",
        one_run="name a run",
    )


def chart(curve: Mapping[str, Any]) -> Chart:
    """A point with its interval for each part, and the fitted curve with its band up to twice the images."""
    points, band = curve["points"], curve["curve_band"]
    fitted = Line(
        x=[place["n"] for place in band],
        y=[place["accuracy"] for place in band],
        label="fitted power law" if curve["trustworthy"] else "fitted power law (not to be trusted)",
        role="training",
        band=[tuple(place["interval"]) for place in band],
        band_label="95 % of its bootstrap draws",
        dots=False,
    )
    measured = Line(
        x=[point["n"] for point in points],
        y=[point["accuracy"] for point in points],
        label=f"mean of {len(points[0]['accuracies'])} seeds, 95 % of bootstrap draws",
        role="validation",
        band=[tuple(point["interval"]) for point in points],
        whiskers=True,
        joined=False,
    )
    first, last = points[0], points[-1]
    return Chart(
        title=f"Accuracy over training images ({curve['split']}, {curve['label']}, n = {curve['n']:,})",
        summary=(
            f"From {percent(first['accuracy'])} on {first['n']:,} images to {percent(last['accuracy'])} on "
            f"{last['n']:,}; the curve reaches {percent(curve['forecast']['accuracy'])} on {curve['forecast']['n']:,}."
        ),
        panels=[
            Panel(
                x_label="training images",
                y_label="accuracy",
                marks=[fitted, measured],
                x_range=(0, curve["forecast"]["n"]),
                y_percent=True,
                whole_x=True,
            )
        ],
    )


def page(name: str, curve: Mapping[str, Any]) -> str:
    """The whole page as HTML. name: that of the folder."""
    rows = [
        {
            "n": f"{point['n']:,}",
            "share": percent(point["share"]),
            "accuracy": percent(point["accuracy"]),
            "interval": between(point["interval"]),
            "seeds": ", ".join(percent(one) for one in point["accuracies"]),
        }
        for point in curve["points"]
    ]
    drawn = chart(curve)
    item = {"chart": drawn, "drawings": svg.draw(drawn, "learning-curve")}
    return render("learning_curve.html", title=name, name=name, curve=curve, rows=rows, item=item)
