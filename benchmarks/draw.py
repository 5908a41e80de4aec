"""Draw the committed results: docs/images/peers.svg, scaling.svg, time_to_accuracy.svg.

python benchmarks/draw.py
"""

from __future__ import annotations

import json
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from protocol import RESULTS

IMAGES = RESULTS.parents[1] / "docs" / "images"
NAMES = {
    "bare": "bare loop",
    "truefit_trainer": "truefit Trainer",
    "truefit_fastest": "truefit, as its recipes compute",
    "lightning_trainer": "Lightning",
    "skorch_net": "skorch",
    "fastai_learner": "fastai",
    "keras_model": "Keras (torch)",
    "accelerate_loop": "accelerate",
}


def peers(result: dict[str, Any]) -> Figure:
    """Images a second of each side, with quartiles over rounds."""
    sides = sorted(result["sides"].items(), key=lambda side: side[1]["images_per_second_median"])
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    medians = [side["images_per_second_median"] for _, side in sides]
    quartiles = [side["images_per_second_quartiles"] for _, side in sides]
    spread = [
        [m - q[0] for m, q in zip(medians, quartiles, strict=True)],
        [q[1] - m for m, q in zip(medians, quartiles, strict=True)],
    ]
    colors = ["C0" if name.startswith("truefit") else "0.7" for name, _ in sides]
    axes.barh([NAMES[name] for name, _ in sides], medians, xerr=spread, color=colors, ecolor="0.3")
    axes.set_xlabel("images a second in training (median and quartiles over rounds)")
    return figure


def scaling(result: dict[str, Any]) -> Figure:
    """Microseconds an image along each axis."""
    kinds = {"images": "images", "side": "side in pixels", "batch": "batch size", "threads": "threads"}
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for axes, (axis, label) in zip(figure.subplots(1, len(kinds)), kinds.items(), strict=True):
        points = [point for point in result["points"] if point["axis"] == axis]
        axes.plot([point[axis] for point in points], [point["microseconds_an_image"] for point in points], "o-")
        axes.set(xlabel=label, ylim=(0, None), xscale="linear" if axis == "threads" else "log")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("µs an image")
    return figure


def time_to_accuracy(result: dict[str, Any]) -> Figure:
    """Test accuracy over seconds: epochs by hand, and whole trainings of the quick recipe."""
    figure = Figure(figsize=(6.4, 3), layout="constrained")
    axes = figure.subplots()
    seconds = [sum(epoch["seconds"] for epoch in result["by_hand"][: k + 1]) for k in range(len(result["by_hand"]))]
    axes.plot(seconds, [epoch["test_accuracy"] for epoch in result["by_hand"]], "o-", color="0.6", label="by hand")
    runs = result["truefit"].values()
    axes.plot([run["fit_seconds"] for run in runs], [run["accuracy"] for run in runs], "o", label="truefit quick")
    axes.set(xlabel="seconds", ylabel="test accuracy", xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def main() -> None:
    matplotlib.rcParams["svg.hashsalt"] = "truefit"
    for name, draw in {"peers": peers, "scaling": scaling, "time_to_accuracy": time_to_accuracy}.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            figure = draw(json.loads(path.read_text()))
            figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
