"""A model card: the README.md of a model repository, with the figures where the Hugging Face hub reads them."""

from __future__ import annotations

import re
from typing import Any

import yaml

from truefit.metrics.intervals import WILSON
from truefit.report.repeat import command
from truefit.runs.evaluation import Evaluation
from truefit.runs.record import Record
from truefit.runs.words import between, caution, percent, verdict

MOST_CLASSES = 40


def card(record: Record) -> str:
    """YAML front matter (`model-index`, as the hub documents it for model cards), then the card in Markdown."""
    evaluation = record.evaluation
    parts = ["---", yaml.safe_dump(_front(record), sort_keys=False, allow_unicode=True).rstrip(), "---", ""]
    parts += [f"# {text(record.name)}", ""]
    if evaluation is None:
        parts += ["This network has not been evaluated: the run had neither validation nor test.", ""]
    else:
        parts += [f"**{text(verdict(evaluation, record.unit))}**", ""]
        if caution(evaluation):
            parts += [text(caution(evaluation)), ""]
    about = record.config.get("data", {})
    classes = about.get("classes") or (list(evaluation.classes) if evaluation is not None else [])
    model = record.config.get("model", {})
    parts += [
        "## Model",
        "",
        f"- network: {text(model.get('name') or model.get('class') or 'not known')}",
        f"- {model.get('parameters', 0):,} parameters",
        f"- {len(classes):,} classes: {text(', '.join(map(str, classes[:MOST_CLASSES])))}"
        + (f" and {len(classes) - MOST_CLASSES:,} more" if len(classes) > MOST_CLASSES else ""),
        f"- weights: {text(record.weights or 'not known')}",
        "",
        "## Use",
        "",
        "```python",
        "import truefit",
        "",
        'run = truefit.load("path/to/this/folder")',
        'print(run.predict("photo.jpg")[0])',
        "```",
        "",
    ]
    if evaluation is not None:
        parts += _figures(evaluation)
    parts += ["## Data", "", f"- {text(about.get('name') or 'given in Python')}"]
    for name, split in about.get("splits", {}).items():
        parts.append(f"- {name}: " + ("n/a" if split["n"] is None else f"{split['n']:,} {record.unit}"))
    parts += [f"- {text(note)}" for note in about.get("notes", [])]
    parts += ["", "## Training", ""]
    again = command(record)
    if again is not None:
        fence = "`" * max(3, 1 + max((len(found) for found in re.findall("`+", again)), default=0))
        parts += [f"{fence}sh", again, fence, ""]
    versions = record.config.get("versions", {})
    parts += [
        f"- {len(record.history):,} epochs, {sum(row['seconds'] for row in record.history):,.0f} s",
        f"- {text(_hardware(record))}",
        f"- {text(', '.join(f'{name} {version}' for name, version in versions.items()))}",
        "",
    ]
    return "\n".join(parts)


def _hardware(record: Record) -> str:
    hardware = record.config.get("hardware", {})
    return str(hardware.get("gpu") or f"{hardware.get('cpu')} ({hardware.get('threads')} threads)")


def _front(record: Record) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "truefit",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "truefit", "pytorch"],
    }
    evaluation = record.evaluation
    if evaluation is None:
        return front
    about = record.config.get("data", {})
    name = str(about.get("name") or "data set given in Python")
    metrics = [
        _metric("accuracy", "Accuracy", evaluation.accuracy, evaluation, interval=list(evaluation.interval)),
        _metric("loss", f"{_entropy(evaluation).capitalize()} (nats)", evaluation.loss, evaluation),
    ]
    if evaluation.multi_label:
        value = evaluation.measures["average_precision"]["macro"]["value"]
        metrics.append(_metric("mean_average_precision", "Mean average precision", value, evaluation))
    calibration = evaluation.measures.get("calibration")
    if calibration is not None:
        error = calibration["expected_calibration_error"]
        metrics.append(_metric("expected_calibration_error", "Expected calibration error", error, evaluation))
    front["metrics"] = ["accuracy"]
    front["model-index"] = [
        {
            "name": record.name,
            "results": [
                {
                    "task": {"type": "image-classification", "name": "Image classification"},
                    "dataset": {"type": name, "name": name, "split": evaluation.split},
                    "metrics": metrics,
                }
            ],
        }
    ]
    return front


def _metric(
    kind: str, name: str, value: float, evaluation: Evaluation, interval: list[float] | None = None
) -> dict[str, Any]:
    about: dict[str, Any] = {"n": evaluation.n, "selected_on": evaluation.selected_on, "looks": evaluation.looks}
    if interval is not None:
        about |= {"interval": interval, "interval_method": WILSON}
    return {"type": kind, "name": name, "value": value, "args": about}


def _figures(evaluation: Evaluation) -> list[str]:
    rows = list(zip(evaluation.classes, evaluation.measures["per_class"], strict=True))
    rows.sort(key=lambda item: (item[1]["recall"] is None, item[1]["recall"]))
    lines = [
        f"## Figures ({text(evaluation.split)}, n = {evaluation.n:,})",
        "",
        "| figure | value |",
        "|---|---|",
        f"| accuracy | {percent(evaluation.accuracy)}, 95 % Wilson interval {between(evaluation.interval)} |",
        f"| {_entropy(evaluation)} | {evaluation.loss:.4f} nats |",
    ]
    if evaluation.multi_label:
        value = evaluation.measures["average_precision"]["macro"]["value"]
        lines.append(f"| mean average precision | {percent(value)} |")
    calibration = evaluation.measures.get("calibration")
    if calibration is not None:
        lines.append(f"| expected calibration error | {percent(calibration['expected_calibration_error'])} |")
    title = f"The {MOST_CLASSES} classes with the lowest recall" if len(rows) > MOST_CLASSES else "Each class"
    lines += ["", f"{title}:", "", "| class | recall | 95 % interval | precision | n |", "|---|---:|---:|---:|---:|"]
    for name, row in rows[:MOST_CLASSES]:
        interval = between(row["recall_interval"]) if row["recall_interval"] else ""
        cells = [text(name), percent(row["recall"]), interval, percent(row["precision"]), f"{row['support']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _entropy(evaluation: Evaluation) -> str:
    return "binary cross-entropy" if evaluation.multi_label else "cross-entropy"


def text(value: object) -> str:
    """Text that stays text in Markdown: one line, without markup, links or HTML."""
    plain = " ".join(str(value).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", plain)
