"""The page of a search: what each trial gave, over its number and over each setting, and whether the best is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truefit.report import svg
from truefit.report.chart import Chart, Line, Panel
from truefit.report.of_folder import FolderReport, not_whole, read_needed
from truefit.report.templates import render
from truefit.runs.words import percent

FILE = "tune.json"
NEEDED = ("trials", "settings", "default", "sentence")
LABELS = {"lr": "learning rate, log10", "weight_decay": "weight decay", "batch_size": "batch size, log2"}


def report_of(folder: Path) -> FolderReport | None:
    """The report of a folder that `truefit tune` wrote; None of any other. InputError where its file is damaged."""
    if not (folder / FILE).is_file():
        return None
    found = read_search(folder)
    return FolderReport(
        chart=chart(found),
        page=lambda: page(folder.resolve().name, found),
        found="a search",
        one_run=f"name {folder / 'default'}",
    )


def read_search(path: str | Path) -> dict[str, Any]:
    """What the folder holds. Raises InputError where the file is damaged."""
    place, made_by = Path(path) / FILE, "truefit tune"
    found = read_needed(place, NEEDED, made_by)
    if not _complete(found):
        raise not_whole(place, "complete trial", made_by)
    return found


def _complete(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [trial for trial in found["trials"] if trial["state"] == "complete"]


def chart(found: Mapping[str, Any]) -> Chart:
    """The trials in their order with the best so far, then once more over each setting."""
    trials = _complete(found)
    values = [trial["accuracy"] for trial in trials]
    numbers = [trial["number"] + 1 for trial in trials]
    best = [max(values[: at + 1]) for at in range(len(values))]
    history = Panel(
        x_label="trial",
        y_label="validation accuracy, selected on it",
        marks=[
            Line(x=numbers, y=values, label="a trial", role="training", joined=False),
            Line(x=numbers, y=best, label="best so far", role="validation", dots=False),
        ],
        y_percent=True,
        whole_x=True,
    )
    slices = [
        Panel(
            x_label=LABELS.get(name, name.replace("_", " ")),
            y_label="validation accuracy, selected on it",
            marks=[
                Line(
                    x=[_on_axis(name, trial[name]) for trial in trials],
                    y=values,
                    label="a trial",
                    role="training",
                    joined=False,
                )
            ],
            y_percent=True,
        )
        for name in found["settings"]
    ]
    return Chart(
        title="What each trial gave",
        summary=(
            f"{len(trials)} complete trials, from {percent(min(values))} to {percent(max(values))}; the best is trial "
            f"{numbers[values.index(max(values))]}."
        ),
        panels=[history, *slices],
    )


def shown(value: float) -> str:
    """A setting in words: whole numbers whole, others to three digits."""
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _on_axis(name: str, value: float) -> float:
    """Rates and sizes are searched by their ratios."""
    return math.log10(value) if name == "lr" else math.log2(value) if name == "batch_size" else value


def page(name: str, found: Mapping[str, Any]) -> str:
    """The whole page as HTML. name: that of the folder."""
    settings = list(found["settings"])
    rows = [
        {
            "number": trial["number"] + 1,
            "state": trial["state"],
            "accuracy": percent(trial["accuracy"]),
            "settings": [shown(trial[one]) if one in trial else "" for one in settings],
            "best": trial["state"] == "complete" and all(trial[one] == found["settings"][one] for one in settings),
        }
        for trial in found["trials"]
    ]
    drawn = chart(found)
    item = {"chart": drawn, "drawings": svg.draw(drawn, "search")}
    names = [one.replace("_", " ") for one in settings]
    return render("search.html", title=name, name=name, found=found, rows=rows, names=names, item=item)
