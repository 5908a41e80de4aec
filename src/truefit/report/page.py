"""The page of one run: what each section shows. A section without anything to show is left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import numpy as np

from truefit.config import flat
from truefit.data.imageset import ImageSet
from truefit.report import svg
from truefit.report.charts import find_chart
from truefit.report.pictures import Pictures, collect, room
from truefit.report.repeat import command
from truefit.report.rows import (
    cell_rows,
    confidence_of,
    least_sure_hits,
    some_of_each_class,
    surest_mistakes,
    worst_pairs,
)
from truefit.report.templates import render
from truefit.runs.evaluation import Evaluation
from truefit.runs.record import Record
from truefit.runs.words import between, caution, percent, verdict

MATRIX_CLASSES = 30
MOST_PAIRS = 30
SHOWN = 12
IN_A_CELL = 12
CLASS_ROWS = 40
# Measures that have a section; all others stand in a plain table.
WITH_SECTION = {"per_class", "confusion", "calibration", "risk_coverage"}
# Outcomes of a doctor's check that a reader should see at once.
SPEAKING = ("fail", "warn", "tip")
CHARTS = {"training": ("curves", "learning_rate"), "confidence": ("reliability", "risk_coverage")}


def page(record: Record, images: ImageSet | None = None) -> str:
    """The whole page as HTML. images: the split that was evaluated, where it is in memory."""
    evaluation = record.evaluation
    cells: list[tuple[int, int, int]] = []
    chosen: dict[str, Any] = {"cells": {}, "mistakes": [], "hits": [], "grid": {}}
    pictures = Pictures()
    # What is taken for what, and which mistakes are the surest, is a question where an image has one class.
    single = evaluation if evaluation is not None and not evaluation.multi_label else None
    if single is not None:
        cells = _cells(single)
        chosen = _choose(record, single, cells)
        wanted = [*chosen["mistakes"], *chosen["hits"], *(row for rows in chosen["grid"].values() for row in rows)]
        pictures = collect(record, [*wanted, *(row for rows in chosen["cells"].values() for row in rows)], images)
    return render(
        "run.html",
        title=record.name,
        record=record,
        evaluation=evaluation,
        unit=record.unit,
        verdict=_verdict(record),
        facts=_facts(record),
        charts={section: list(_charts(record, names)) for section, names in CHARTS.items()},
        epochs=record.history,
        pictures=pictures,
        single=single,
        sample=Sample(single, pictures) if single is not None else None,
        chosen=chosen,
        matrix=_matrix(single) if single is not None else None,
        pairs=_pairs(single) if single is not None else [],
        samples_json=_samples(single, chosen["cells"], pictures) if single is not None else None,
        classes=_classes(evaluation) if evaluation is not None else None,
        data=_data(record),
        figures=_figures(evaluation) if evaluation is not None else [],
        looks=_looks(record),
        ledger=record.more.get("ledger", []),
        findings=_findings(record.more.get("doctor")),
        speaking=SPEAKING,
        more=_more(record),
        made=_made(record),
    )


def _epochs_wanted(config: dict[str, Any]) -> int:
    """How many epochs the training was to begin."""
    recipe = config.get("recipe", {})
    steps = recipe.get("stop_at_step") or recipe.get("max_steps")
    if steps is None:
        return int(recipe.get("epochs", 0))
    per_epoch = -(-int(config["data"]["splits"]["train"]["n"]) // recipe["batch_size"])
    return min(int(recipe["epochs"]), -(-int(steps) // int(per_epoch)))


def _verdict(record: Record) -> dict[str, Any]:
    evaluation = record.evaluation
    if evaluation is None:
        broke_off = record.weights is None or len(record.history) < _epochs_wanted(record.config)
        why = "Training did not finish" if broke_off else "This run had neither validation nor test"
        return {"figure": "No figure", "sentence": f"{why}, so nothing says how good the network is.", "caution": ""}
    figure = percent(evaluation.accuracy)
    baseline, name = _baseline(evaluation)
    return {
        "figure": figure,
        "sentence": verdict(evaluation, record.unit).removeprefix(figure).strip(),
        "caution": caution(evaluation),
        "low": evaluation.interval[0],
        "high": evaluation.interval[1],
        "value": evaluation.accuracy,
        "baseline": baseline,
        "baseline_name": name,
    }


def _baseline(evaluation: Evaluation) -> tuple[float, str]:
    """What always giving the most frequent answer would reach, 0..1, and that answer."""
    if evaluation.multi_label:
        combinations, counts = np.unique(evaluation.label, axis=0, return_counts=True)
        most = combinations[int(counts.argmax())]
        names = [name for name, present in zip(evaluation.classes, most, strict=True) if present]
        return float(counts.max() / evaluation.n), ", ".join(names) or "no label"
    largest = np.bincount(evaluation.label, minlength=len(evaluation.classes))
    return float(largest.max() / evaluation.n), evaluation.classes[int(largest.argmax())]


def _facts(record: Record) -> list[tuple[str, str]]:
    """The figures beneath the verdict."""
    facts = []
    evaluation, history = record.evaluation, record.history
    if evaluation is not None:
        calibration = evaluation.measures.get("calibration", {})
        facts += [
            ("correct", f"{evaluation.correct:,} of {evaluation.n:,}"),
            (f"loss ({'binary ' * evaluation.multi_label}cross-entropy)", f"{evaluation.loss:.4f} nats"),
        ]
        if evaluation.multi_label:
            facts.append(
                ("mean average precision", percent(evaluation.measures["average_precision"]["macro"]["value"]))
            )
        if calibration:
            facts.append(("calibration error", percent(calibration["expected_calibration_error"])))
        facts.append((f"looks at {evaluation.split} by then", f"{evaluation.looks:,}"))
    if history:
        facts += [
            ("epochs", f"{len(history):,}"),
            ("training took", duration(sum(row["seconds"] for row in history))),
            ("training speed", f"{np.median([row['images_per_second'] for row in history]):,.0f} {record.unit}/s"),
        ]
    if "model" in record.config:
        facts.append(("parameters", f"{record.config['model']['parameters']:,}"))
    return facts


def duration(seconds: float) -> str:
    """`48 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _charts(record: Record, names: Iterable[str]) -> Iterable[dict[str, Any]]:
    for name in names:
        chart = find_chart(name, record)
        if chart is not None and (record.history or name != "curves"):
            yield {"name": name, "chart": chart, "drawings": svg.draw(chart, name.replace("_", "-"))}


def _cells(evaluation: Evaluation) -> list[tuple[int, int, int]]:
    """The cells of the matrix that can be opened: (true, predicted, count), mistakes first, the most frequent first."""
    if len(evaluation.classes) > MATRIX_CLASSES:
        return worst_pairs(evaluation, MOST_PAIRS)
    counts = evaluation.measures["confusion"]
    hits = [(at, at, row[at]) for at, row in enumerate(counts) if row[at]]
    return [*worst_pairs(evaluation), *hits]


def _choose(record: Record, evaluation: Evaluation, cells: list[tuple[int, int, int]]) -> dict[str, Any]:
    """Rows of each part of the page. Together they fit into one sprite; every cell gets some."""
    classes = len(evaluation.classes)
    few = max(1, min(IN_A_CELL, (room(record) - 2 * SHOWN - 80) // max(1, len(cells))))
    each = 8 if classes <= 12 else 4 if classes <= 24 else 1
    return {
        "cells": {(true, chosen): cell_rows(evaluation, true, chosen, few) for true, chosen, _ in cells},
        "mistakes": surest_mistakes(evaluation, SHOWN),
        "hits": least_sure_hits(evaluation, SHOWN),
        "grid": some_of_each_class(evaluation, each, 80),
    }


class Sample:
    """What the page says of one row of the evaluation."""

    def __init__(self, evaluation: Evaluation, pictures: Pictures) -> None:
        self.evaluation, self.pictures = evaluation, pictures
        self.confidence = confidence_of(evaluation)

    def __call__(self, row: int) -> dict[str, Any]:
        evaluation = self.evaluation
        true, chosen = int(evaluation.label[row]), int(evaluation.predicted[row])
        tile = self.pictures.tiles.get(row)
        return {
            "x": None if tile is None else tile % self.pictures.columns,
            "y": None if tile is None else tile // self.pictures.columns,
            "true": evaluation.classes[true],
            "predicted": evaluation.classes[chosen],
            "right": true == chosen,
            "confidence": percent(float(self.confidence[row])),
            "name": sample_name(evaluation, row),
        }


def sample_name(evaluation: Evaluation, row: int) -> str:
    """The last two parts of the file's path, or the sample's number."""
    if evaluation.paths is None:
        return f"sample {int(evaluation.index[row]):,}"
    return "/".join(PurePath(evaluation.paths[row].replace("\\", "/")).parts[-2:])


def _samples(
    evaluation: Evaluation, cells: dict[tuple[int, int], list[int]], pictures: Pictures
) -> dict[str, list[dict[str, Any]]]:
    """What the script shows when a cell is opened."""
    sample = Sample(evaluation, pictures)
    kept = ("x", "y", "confidence", "name")
    return {
        f"{true},{chosen}": [{key: value for key, value in sample(row).items() if key in kept} for row in rows]
        for (true, chosen), rows in cells.items()
    }


def _matrix(evaluation: Evaluation) -> dict[str, Any] | None:
    """Rows of cells with the share of their row, 0..1; None with too many classes for a table."""
    if len(evaluation.classes) > MATRIX_CLASSES:
        return None
    counts = np.asarray(evaluation.measures["confusion"])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Mistakes are few: the root lets small shares be seen.
    shade = np.where(np.eye(len(counts), dtype=bool), 40 * share, 55 * np.sqrt(share)).round(1)
    return {
        "counts": counts.tolist(),
        "shade": shade.tolist(),
        "totals": counts.sum(axis=1).tolist(),
        "short": max(map(len, evaluation.classes)) <= 3,
    }


def _pairs(evaluation: Evaluation) -> list[dict[str, Any]]:
    support = np.bincount(evaluation.label, minlength=len(evaluation.classes))
    most = MOST_PAIRS if len(evaluation.classes) > MATRIX_CLASSES else 10
    return [
        {
            "true": true,
            "predicted": chosen,
            "count": count,
            "support": int(support[true]),
            "share": percent(count / int(support[true])),
        }
        for true, chosen, count in worst_pairs(evaluation, most)
    ]


def _classes(evaluation: Evaluation) -> dict[str, Any]:
    """Rows by recall, the lowest first; classes without samples last."""
    rows = []
    for name, row in zip(evaluation.classes, evaluation.measures["per_class"], strict=True):
        rows.append(
            {
                "name": name,
                "support": row["support"],
                "recall": row["recall"],
                "recall_text": percent(row["recall"]),
                "interval": row["recall_interval"],
                "interval_text": between(row["recall_interval"]) if row["recall_interval"] else "",
                "precision": percent(row["precision"]),
                "precision_interval": between(row["precision_interval"]) if row["precision_interval"] else "",
                "f1": "n/a" if row["f1"] is None else f"{row['f1']:.3f}",
            }
        )
    rows.sort(key=lambda row: (row["recall"] is None, row["recall"]))
    return {"first": rows[:CLASS_ROWS], "rest": rows[CLASS_ROWS:], "all": len(rows)}


def _data(record: Record) -> dict[str, Any]:
    """The data set card: sizes, balance, notes."""
    about = record.config.get("data", {})
    classes = about.get("classes") or (list(record.evaluation.classes) if record.evaluation is not None else [])
    splits = [
        {"name": name, "n": split["n"], "counts": split.get("counts"), "fingerprint": split.get("fingerprint", "")}
        for name, split in about.get("splits", {}).items()
    ]
    evaluation = record.evaluation
    for split in splits:
        if split["counts"] is None and evaluation is not None and split["name"] == evaluation.split:
            several = evaluation.multi_label
            label = np.nonzero(evaluation.label)[1] if several else evaluation.label
            split["counts"] = np.bincount(label, minlength=len(classes)).tolist()
    counted = [split for split in splits if split["counts"]]
    balance = []
    for at, name in enumerate(classes):
        balance.append({"name": name, "counts": [split["counts"][at] for split in counted]})
    first = counted[0]["counts"] if counted else []
    if len(balance) > CLASS_ROWS:
        order = sorted(range(len(classes)), key=lambda at: -first[at])
        half = CLASS_ROWS // 2
        balance = [balance[at] for at in [*order[:half], *order[-half:]]]
    return {
        "name": about.get("name"),
        "spec": about.get("spec"),
        "splits": splits,
        "classes": len(classes),
        "notes": about.get("notes", []),
        "counted": counted,
        "balance": balance if counted else [],
        "largest": max((count for row in balance for count in row["counts"][:1]), default=1) or 1,
        "spread": (min(first), max(first)) if first else None,
    }


def _figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Figures of metric files that have no section: name and value, with its interval, one a line."""
    found: list[tuple[str, str]] = []
    for name, value in evaluation.measures.items():
        if name not in WITH_SECTION:
            found += plain_rows(name.replace("_", " "), value)
    return found


def plain_rows(name: str, value: Any, most: int = 60) -> list[tuple[str, str]]:
    """Any plain value as lines of a table; what is long is named by its length."""
    if isinstance(value, dict) and any(_interval_of(value, key) for key in value):
        # Each figure with the interval that stands beside it: value and interval, precision and precision_interval.
        rows = []
        for key, item in value.items():
            interval = _interval_of(value, key)
            label = name if key == "value" else f"{name}: {str(key).replace('_', ' ')}"
            if interval is not None:
                rows.append((label, f"{plain(item)}  [{plain(interval[0])}, {plain(interval[1])}]"))
            elif key != "interval" and not (key.endswith("_interval") and key.removesuffix("_interval") in value):
                rows += plain_rows(label, item)
    elif isinstance(value, dict):
        rows = [row for key, item in value.items() for row in plain_rows(f"{name}: {str(key).replace('_', ' ')}", item)]
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        rows = [row for at, item in enumerate(value, start=1) for row in plain_rows(f"{name} {at}", item)]
    elif isinstance(value, list):
        short = len(value) <= 8
        rows = [(name, ", ".join(map(plain, value)) if short else f"{len(value):,} values")]
    else:
        rows = [(name, plain(value))]
    rows = [row for row in rows if row[1]]
    return rows if len(rows) <= most else [*rows[:most], (name, f"{len(rows) - most:,} more lines in the file")]


def _interval_of(value: dict[str, Any], key: str) -> list[float] | None:
    """The interval of the figure `key` in the same mapping; None where there is none, or the figure is undefined."""
    beside = value.get("interval" if key == "value" else f"{key}_interval")
    return beside if isinstance(value[key], float) and isinstance(beside, list) and len(beside) == 2 else None


def plain(value: Any) -> str:
    """A value as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _looks(record: Record) -> list[dict[str, Any]]:
    """Every evaluation of this run that stands in its folder."""
    own = [("the run's own", record.evaluation.to_json())] if record.evaluation is not None else []
    return [
        {
            "name": name,
            "split": figures["split"],
            "n": figures["n"],
            "accuracy": percent(figures["accuracy"]),
            "interval": between(figures["interval"]),
            "looks": figures.get("looks", 1),
        }
        for name, figures in [*own, *record.later.items()]
    ]


def _findings(doctor: Any) -> list[dict[str, Any]]:
    """What the doctor found, where the run has it: a list of findings, or a mapping that holds one."""
    found = doctor.get("findings", []) if isinstance(doctor, dict) else doctor
    empty: dict[str, Any] = {"name": "", "outcome": "", "message": "", "numbers": {}, "reason": "", "fix": ""}
    return [{**empty, **finding} for finding in found or [] if isinstance(finding, dict) and finding.get("code")]


def _more(record: Record) -> list[dict[str, Any]]:
    """Further files of the run as plain tables."""
    tables = []
    for name, value in record.more.items():
        if name == "ledger" or (name == "doctor" and _findings(value)):
            continue
        value = {key: item for key, item in value.items() if key != "schema"} if isinstance(value, dict) else value
        rows = plain_rows("", value)
        tables.append({"name": name.replace("_", " "), "rows": [(key.lstrip(": "), text) for key, text in rows]})
    return tables


def _made(record: Record) -> dict[str, Any]:
    config = record.config
    predictor = {key: value for key, value in config.get("predictor", {}).items() if key != "classes"}
    hardware = {key: value for key, value in config.get("hardware", {}).items() if value is not None}
    return {
        "command": command(record),
        "tables": [
            (title, [(key, plain_text(value)) for key, value in flat(table).items()])
            for title, table in (
                ("Recipe", config.get("recipe", {})),
                ("Inference", predictor),
                ("Settings", {"seed": config.get("seed"), **config.get("settings", {})}),
                ("Model", config.get("model", {})),
                ("Hardware", hardware),
                ("Versions", {**config.get("versions", {}), "commit": config.get("commit")}),
            )
            if table
        ],
    }


def plain_text(value: Any) -> str:
    """A setting as text; lists with commas."""
    return ", ".join(map(plain, value)) if isinstance(value, list) else plain(value) if value != [] else "none"
