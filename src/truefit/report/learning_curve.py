"""The page of a learning curve: accuracy over training images, and whether more of them would help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truefit.errors import InputError
from truefit.report import svg
from truefit.report.chart import Chart, Line, Panel
from truefit.report.templates import render
from truefit.runs.files import read_json
from truefit.runs.words import between, percent

FILE = "learning_curve.json"
NEEDED = ("points", "curve_band", "forecast", "trustworthy", "sentence", "split", "label", "n", "model", "recipe")


def is_learning_curve(path: object) -> bool:
    """Whether it is a folder that `truefit train --learning-curve` wrote."""
    return isinstance(path, str | Path) and (Path(path) / FILE).is_file()


def read_learning_curve(path: str | Path) -> dict[str, Any]:
    """What the folder holds. Raises InputError where the file is damaged."""
    place = Path(path) / FILE
    curve = read_json(place)
    missing = [name for name in NEEDED if name not in curve]
    if missing:
        raise InputError(
            f"{FILE} is not whole",
            where=place,
            found=f"no {', '.join(missing)}",
            wanted="the file as truefit train --learning-curve wrote it",
        )
    return curve


def chart(curve: Mapping[str, Any]) -> Chart:
    """A point with its interval for each part, and the fitted curve with its band up to twice the images."""
    points, band = curve["points"], curve["curve_band"]
    fitted = Line(
        x=[place["n"] for place in band],
        y=[place["accuracy"] for place in band],
        label="fitted power law" if curve["trustworthy"] else "fitted power law (not to be trusted)",
        role="training",
        band=[(low, high) for low, high in (place["interval"] for place in band)],
        band_label="95 % of its bootstrap draws",
        dots=False,
    )
    measured = Line(
        x=[point["n"] for point in points],
        y=[point["accuracy"] for point in points],
        label=f"mean of {len(points[0]['accuracies'])} seeds, 95 % of bootstrap draws",
        role="validation",
        band=[(low, high) for low, high in (point["interval"] for point in points)],
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
