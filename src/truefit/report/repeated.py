"""The page of a folder of seeds or folds: every run's figure, and what they come to together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from truefit.report import svg
from truefit.report.chart import Chart, Line, Panel
from truefit.report.of_folder import FolderReport
from truefit.report.templates import render
from truefit.runs.evaluation import Evaluation
from truefit.runs.folds import is_folds_folder, load_folds
from truefit.runs.seeds import folder_of, is_seeds_folder, load_seeds
from truefit.runs.words import between, percent


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Runs of one recipe. kind: "seed" or "fold". evaluations: by its number. folders: their names, beside the page.

    mean: what they come to, 0..1, as `label` calls it; band: its interval, where there is one. sentence, notes: the
    same in words.
    """

    name: str
    kind: str
    evaluations: dict[int, Evaluation]
    folders: dict[int, str]
    mean: float
    label: str
    band: tuple[float, float] | None
    band_label: str
    sentence: str
    notes: tuple[str, ...]


def report_of(folder: Path) -> FolderReport | None:
    """The report of a folder of seeds or of folds; None of any other.

    Raises InputError where it is unfinished, damaged or changed.
    """
    if not (is_seeds_folder(folder) or is_folds_folder(folder)):
        return None
    runs = _read(folder)
    return FolderReport(
        chart=chart(runs),
        page=lambda: page(runs),
        found=f"{len(runs.evaluations)} {runs.kind}s",
        one_run=f"name one of them, such as {folder / next(iter(runs.folders.values()))}",
    )


def _read(path: Path) -> Repeated:
    name = path.resolve().name
    if is_folds_folder(path):
        found = load_folds(path)
        whole = found.evaluation
        return Repeated(
            name=name,
            kind="fold",
            evaluations=found.folds,
            folders={fold: f"fold-{fold}" for fold in found.folds},
            mean=whole.accuracy,
            label="all folds together",
            band=whole.interval,
            band_label="its approximate 95 % interval",
            sentence=(
                f"{percent(whole.accuracy)} of {whole.n:,} samples are classified correctly by a model that never saw "
                f"them (approximate 95 % interval {between(whole.interval)}), {len(found.folds)} folds."
            ),
            notes=(
                f"Interval: {whole.interval_method}.",
                "Every sample was held out in one fold. The data's own test split is in none.",
            ),
        )
    seeds = load_seeds(path)
    first = next(iter(seeds.evaluations.values()))
    over = "" if seeds.interval is None else f" (95 % interval over seeds {between(seeds.interval)})"
    split = ", ".join(filter(None, [first.split, first.label_of_selection]))
    notes = [f"Over other {first.split} samples these models' mean lies in {between(seeds.sampling_interval)} (95 %)."]
    if seeds.sd is not None:
        spread = f"from {percent(seeds.lowest)} to {percent(seeds.highest)}"
        notes.insert(0, f"Standard deviation between seeds {100 * seeds.sd:.2f} points, {spread}.")
    return Repeated(
        name=name,
        kind="seed",
        evaluations=seeds.evaluations,
        folders={seed: folder_of(seed) for seed in seeds.evaluations},
        mean=seeds.mean,
        label=f"mean of {len(seeds.evaluations)}",
        band=seeds.interval,
        band_label="its 95 % interval over seeds",
        sentence=(
            f"{percent(seeds.mean)} is the mean accuracy of {len(seeds.evaluations)} "
            f"seed{'s' * (len(seeds.evaluations) > 1)}{over}, n = {first.n:,} ({split})."
        ),
        notes=tuple(notes),
    )


def chart(runs: Repeated) -> Chart:
    """A point with its interval for each run, and what they come to as a line."""
    every = list(runs.evaluations.values())
    at = list(range(len(every)))
    ends = [-0.4, len(every) - 0.6]
    first = every[0]
    split = ", ".join(filter(None, [first.split, first.label_of_selection]))
    whole = Line(
        x=ends,
        y=[runs.mean, runs.mean],
        label=f"{runs.label}: {percent(runs.mean)}",
        role="training",
        band=None if runs.band is None else [runs.band, runs.band],
        band_label=runs.band_label,
        dots=False,
    )
    points = Line(
        x=at,
        y=[one.accuracy for one in every],
        label=f"a {runs.kind}, 95 % Wilson interval",
        role="validation",
        band=[one.interval for one in every],
        whiskers=True,
        joined=False,
    )
    low, high = min(one.accuracy for one in every), max(one.accuracy for one in every)
    return Chart(
        title=f"Accuracy of each {runs.kind} ({split})",
        summary=f"From {percent(low)} to {percent(high)}; {runs.label} {percent(runs.mean)}.",
        panels=[
            Panel(
                x_label=f"{runs.kind}s, in the order of the table, counted from 0",
                y_label="accuracy",
                marks=[whole, points],
                x_range=(ends[0], ends[1]),
                y_percent=True,
                whole_x=True,
            )
        ],
    )


def page(runs: Repeated) -> str:
    """The whole page as HTML."""
    drawn = chart(runs)
    rows = [
        {
            "number": number,
            "folder": runs.folders[number],
            "accuracy": percent(one.accuracy),
            "value": one.accuracy,
            "interval": one.interval,
            "interval_text": between(one.interval),
            "n": f"{one.n:,}",
            "correct": f"{one.correct:,}",
            "loss": f"{one.loss:.4f}",
            "weights": one.weights,
        }
        for number, one in runs.evaluations.items()
    ]
    return render(
        "repeated.html",
        title=runs.name,
        runs=runs,
        rows=rows,
        item={"chart": drawn, "drawings": svg.draw(drawn, "runs")},
    )
