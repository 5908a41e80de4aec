"""Plots of a run, for notebooks and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from truefit.errors import InputError
from truefit.metrics.power_law import PowerLaw
from truefit.report.charts import find_chart
from truefit.report.charts.curves import of_log
from truefit.report.figure import draw
from truefit.runs.evaluation import Evaluation
from truefit.runs.record import Record
from truefit.runs.run import Run
from truefit.runs.seeds import SeedRuns

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(run_or_log: Run | Record | Evaluation | SeedRuns | Mapping[str, Any], kind: str = "curves") -> Figure:
    """A plot of a `Run`, an `Evaluation`, `SeedRuns`, or of the log that `ConvolutionalNeuralNet.train` returns.

    kind: "curves" (loss and accuracy over epochs; all that a log has), "learning_rate", "confusion", "per_class",
    "reliability", "risk_coverage". An evaluation has no epochs, so name another kind than the first two. Of
    SeedRuns the accuracy of each seed is shown, and their mean.

    Returns a matplotlib figure, made without pyplot: a notebook shows it, `.savefig(path)` writes it. Raises
    InputError for an unknown kind, and where there is nothing to show.
    """
    if isinstance(run_or_log, SeedRuns):
        return _of_seeds(run_or_log, kind)
    if isinstance(run_or_log, Mapping):
        if kind != "curves":
            raise InputError("a log has curves and nothing else", found=kind, wanted="curves")
        return draw(of_log(run_or_log))
    chart = find_chart(kind, _record(run_or_log))
    if chart is None or (kind == "curves" and isinstance(run_or_log, Evaluation)):
        raise InputError(f"there is nothing to show as {kind}", found=_lack(run_or_log), fix="choose another kind")
    return draw(chart)


def _record(what: Run | Record | Evaluation) -> Record:
    if isinstance(what, Record):
        return what
    if isinstance(what, Evaluation):
        return Record(
            folder=None,
            config={},
            history=[],
            evaluation=what,
            weights=what.weights,
            selected_on=what.selected_on,
        )
    return Record.of(what)


def _lack(what: Run | Record | Evaluation) -> str:
    if isinstance(what, Evaluation):
        return f"an evaluation of {len(what.classes)} classes, without epochs"
    if what.evaluation is None:
        return "a run without an evaluation"
    return f"{len(what.history)} epochs and {len(what.evaluation.classes)} classes"


def _of_seeds(seeds: SeedRuns, kind: str) -> Figure:
    """A point a seed with its own interval, the mean as a line, and the mean's interval over the seeds as a band."""
    from truefit.report.shown import ShownFigure

    if kind != "curves":
        raise InputError("several seeds have their accuracies to show and nothing else", found=kind, wanted="curves")
    figure = ShownFigure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    every = list(seeds.evaluations.values())
    places = range(len(every))
    below = [evaluation.accuracy - evaluation.interval[0] for evaluation in every]
    above = [evaluation.interval[1] - evaluation.accuracy for evaluation in every]
    where = ", ".join(filter(None, [every[0].split, every[0].label_of_selection]))
    axes.errorbar(places, seeds.accuracies, yerr=[below, above], fmt="o", capsize=3, label="a seed, 95 % over samples")
    axes.axhline(seeds.mean, color="C1", label=f"mean of {len(every)}: {100 * seeds.mean:.1f} %")
    if seeds.interval is not None:
        axes.axhspan(*seeds.interval, color="C1", alpha=0.2, label="its 95 % interval over seeds")
    axes.set_xticks(places, [str(seed) for seed in seeds.evaluations])
    axes.set_xlabel("seed")
    axes.set_ylabel(f"accuracy, {where}, n = {every[0].n:,}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def plot_learning_curve(curve: Mapping[str, Any]) -> Figure:
    """Accuracy over training images, with the fitted curve up to twice as many.

    curve: what `truefit.learning_curve` returns, or learning_curve.json holds. Returns a matplotlib figure.
    """
    from truefit.report.shown import ShownFigure

    figure = ShownFigure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    points, law = curve["points"], PowerLaw(**curve["curve"])
    n, accuracy = [point["n"] for point in points], [point["accuracy"] for point in points]
    below = [point["accuracy"] - point["interval"][0] for point in points]
    above = [point["interval"][1] - point["accuracy"] for point in points]
    label = f"{curve['split']}, {curve['label']}, n = {curve['n']:,}; 95 % of bootstrap draws"
    axes.errorbar(n, accuracy, yerr=[below, above], fmt="o", capsize=3, label=label)
    steps = [n[0] * (2 * n[-1] / n[0]) ** (step / 60) for step in range(61)]
    fitted = "fitted power law" if curve["trustworthy"] else "fitted power law (not to be trusted)"
    axes.plot(steps, [1 - law.error(step) for step in steps], "-" if curve["trustworthy"] else ":", label=fitted)
    axes.set(xscale="log", xlabel="training images", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return figure
