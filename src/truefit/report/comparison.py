"""The page of several runs side by side: figures, tests, curves, and what was set differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import truefit
from truefit.config import flat
from truefit.errors import InputError
from truefit.report import svg
from truefit.report.charts.curves import of_runs
from truefit.report.page import duration, plain_text
from truefit.report.templates import render
from truefit.runs.record import Record
from truefit.runs.words import between, percent

# Of no interest beside each other: they follow from what differs, or name places.
LEFT_OUT = ("data.splits.", "data.notes", "data.classes", "predictor.", "versions.", "hardware.", "model.class")


def page(records: Sequence[Record]) -> str:
    """The whole page as HTML, for two runs or more."""
    names = _names(records)
    chart = of_runs(records, names)
    same = _same_data(records)
    rows = [_row(record, name) for record, name in zip(records, names, strict=True)]
    return render(
        "comparison.html",
        title=" · ".join(names),
        rows=rows,
        sentence=_sentence(rows, same),
        same_data=same,
        tests=_tests(records, names),
        item={"chart": chart, "drawings": svg.draw(chart, "runs")},
        names=names,
        differences=_differences(records),
    )


def _names(records: Sequence[Record]) -> list[str]:
    """The folders' names; with a number where two are the same."""
    plain = [record.name for record in records]
    return [f"{name} ({at})" if plain.count(name) > 1 else name for at, name in enumerate(plain, start=1)]


def _row(record: Record, name: str) -> dict[str, Any]:
    evaluation = record.evaluation
    return {
        "name": name,
        "accuracy": percent(evaluation.accuracy) if evaluation is not None else "n/a",
        "value": evaluation.accuracy if evaluation is not None else None,
        "interval": evaluation.interval if evaluation is not None else None,
        "interval_text": between(evaluation.interval) if evaluation is not None else "",
        "n": f"{evaluation.n:,}" if evaluation is not None else "",
        "split": ", ".join(filter(None, [evaluation.split, evaluation.label_of_selection]))
        if evaluation is not None
        else "not evaluated",
        "loss": f"{evaluation.loss:.4f}" if evaluation is not None else "",
        "epochs": f"{len(record.history):,}",
        "time": duration(sum(row["seconds"] for row in record.history)),
        "parameters": f"{record.config['model']['parameters']:,}" if "model" in record.config else "",
    }


def _sentence(rows: Sequence[dict[str, Any]], same: bool) -> str:
    measured = [row for row in rows if row["value"] is not None]
    if not measured:
        return "None of these runs has been evaluated."
    if not same:
        return f"{len(rows)} runs, which are not known to have been measured on the same samples."
    best = max(measured, key=lambda row: row["value"])
    figure = f"{best['accuracy']} (95 % Wilson interval {best['interval_text']}, n = {best['n']}, {best['split']})"
    return f"{figure} is the highest accuracy: {best['name']}."


def _same_data(records: Sequence[Record]) -> bool:
    """Whether all were measured on the very same samples, as far as the files tell."""
    seen = set()
    for record in records:
        evaluation = record.evaluation
        if evaluation is None:
            return False
        splits = record.config.get("data", {}).get("splits", {})
        fingerprint = splits.get(evaluation.split, {}).get("fingerprint")
        seen.add((fingerprint, evaluation.classes, evaluation.label.tobytes()))
    return len(seen) == 1 and None not in {fingerprint for fingerprint, _, _ in seen}


def _tests(records: Sequence[Record], names: Sequence[str]) -> dict[str, Any] | None:
    """What `truefit.compare` says of the runs that were evaluated; None where it has nothing to compare."""
    measured = [record.evaluation for record in records if record.evaluation is not None]
    if len(measured) < 2:
        return None
    evaluated = [name for record, name in zip(records, names, strict=True) if record.evaluation is not None]
    try:
        found = truefit.compare(*measured)
    except InputError as error:
        return {"letters": [], "verdicts": [], "remarks": [f"The runs can't be compared: {error.what}."]}
    letters = [side.letter for side in found.sides]
    return {
        "letters": list(zip(letters, evaluated, strict=True)),
        "verdicts": [pair.verdict for pair in found.pairs],
        "remarks": found.remarks,
    }


def _differences(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs."""
    configs = [flat(record.config) for record in records]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    found = []
    for key in keys:
        values = [plain_text(config.get(key)) for config in configs]
        if len(set(values)) > 1 and not key.startswith(LEFT_OUT):
            found.append((key, values))
    return found
