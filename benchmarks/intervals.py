"""Do the intervals cover what they promise, and does the test keep its level?

    python benchmarks/intervals.py [--simulations 2000]

Writes results/intervals.json. Accuracy's Wilson interval: exact, by summing the binomial. All others: simulated
evaluations of known truth, with fixed supports of at least 50 a class. Needs no data.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np
from protocol import save
from scipy.stats import binom

from truefit.comparison.paired import difference_interval, mcnemar
from truefit.comparison.seeds import compare_seeds
from truefit.metrics import measure_all, roc_auc
from truefit.metrics.intervals import effective_wilson, student, wilson
from truefit.runs.evaluation import Evaluation

# Samples of each class, and how far the true class's logit stands out: from about 60 % to about 99 % right.
SUPPORTS = {"50 each": (50, 50, 50, 50), "200 each": (200, 200, 200, 200), "50 to 400": (50, 100, 200, 400)}
SKILLS = (1.5, 3.0, 4.5)
TRUTH_SAMPLES = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=2000)
    count = parser.parse_args().simulations
    start = time.perf_counter()
    result: dict[str, Any] = {
        "accuracy": exact_wilson(),
        "figures": simulated_figures(count),
        "difference": paired_difference(count),
        "mcnemar": mcnemar_exact(count),
        "seeds": recipes(count),
    }
    result["seconds"] = round(time.perf_counter() - start, 1)
    save(
        "intervals",
        "coverage of 95 % intervals. accuracy: exact sum of the binomial. figures: 4 classes, softmax of normal noise "
        "plus a constant on the true class, fixed supports; truth from 1,000,000 samples in the same "
        f"proportions; {count:,} simulations a cell, seed 0. difference, mcnemar, seeds: {count:,} simulations a cell",
        result,
    )


def exact_wilson() -> dict[str, Any]:
    """The chance that the interval holds p, summed over all hits of n."""
    cells = {}
    for p in (0.5, 0.9, 0.99):
        for n in (50, 500, 5000):
            hits = np.arange(n + 1)
            covered = [low <= p <= high for low, high in (wilson(int(h), n) for h in hits)]
            cells[f"p {p}, n {n}"] = float(binom.pmf(hits, n, p)[covered].sum())
    return {
        "method": "Wilson",
        "cells": cells,
        "mean": float(np.mean(list(cells.values()))),
        "lowest": min(cells.values()),
    }


def draw(generator: np.random.Generator, supports: tuple[int, ...], skill: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(supports)), supports)
    logits = generator.normal(size=(len(labels), len(supports)))
    # Classes of different difficulty, as everywhere.
    logits[np.arange(len(labels)), labels] += skill + 0.2 * labels
    return logits, labels


def flat(logits: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, list[float]]]:
    """Every figure that has an interval, by name."""
    names = tuple(map(str, range(logits.shape[1])))
    evaluation = Evaluation.from_logits(logits, labels, classes=names, split="test")
    measures = measure_all(evaluation.probabilities.astype(np.float64), labels, evaluation.predicted)
    assert evaluation.loss_interval is not None
    found: dict[str, Any] = {"loss": (evaluation.loss, evaluation.loss_interval)}
    for name in ("balanced_accuracy", "brier_score"):
        found[name] = (measures[name]["value"], measures[name]["interval"])
    for kind in ("macro_average", "weighted_average"):
        for name in ("precision", "recall", "f1"):
            found[f"{kind} {name}"] = (measures[kind][name], measures[kind][f"{name}_interval"])
    row = measures["per_class"][0]
    for name in ("precision", "recall", "f1"):
        found[f"per_class {name}"] = (row[name], row[f"{name}_interval"])
    for kind in ("roc_auc", "average_precision"):
        found[f"{kind} per class"] = tuple(measures[kind]["per_class"][0].values())
        found[f"{kind} macro"] = tuple(measures[kind]["macro"].values())
    scores = np.sum((evaluation.probabilities - np.eye(logits.shape[1])[labels]) ** 2, axis=1)
    support, hits = row["support"], round(row["recall"] * row["support"])
    own, others = np.sort(evaluation.probabilities[labels == 0, 0]), evaluation.probabilities[labels != 0, 0]
    area, *parts, _ = roc_auc.area(own, others)
    found["not taken: brier_score, Student's t"] = (float(scores.mean()), student(scores))
    found["not taken: per_class recall, Wilson"] = (row["recall"], wilson(hits, support))
    # Where all are in order DeLong's variance is 0, and there is no interval.
    influence = np.concatenate(parts)
    alone = effective_wilson(area, influence, math.inf) if 0 < area < 1 else None
    found["not taken: roc_auc per class, DeLong without a limit"] = (area, alone)
    found["top_k 2"] = (measures["top_k"][0]["accuracy"], measures["top_k"][0]["interval"])
    return found


def simulated_figures(count: int) -> dict[str, Any]:
    covered: dict[str, dict[str, float]] = {}
    for name, supports in SUPPORTS.items():
        for skill in SKILLS:
            generator = np.random.default_rng(0)
            truth = {
                figure: value
                for figure, (value, _) in flat(
                    *draw(generator, tuple(TRUTH_SAMPLES * s // sum(supports) for s in supports), skill)
                ).items()
            }
            hits = dict.fromkeys(truth, 0)
            undefined = dict.fromkeys(truth, 0)
            for _ in range(count):
                for figure, (value, interval) in flat(*draw(generator, supports, skill)).items():
                    if value is None or interval is None:
                        undefined[figure] += 1
                    else:
                        hits[figure] += interval[0] <= truth[figure] <= interval[1]
            cell = f"support {name}, skill {skill}"
            for figure, hit in hits.items():
                if undefined[figure] < count:
                    covered.setdefault(figure, {})[cell] = hit / (count - undefined[figure])
            print(cell, {figure: cells[cell] for figure, cells in covered.items() if cell in cells}, flush=True)
    taken = {figure: cells for figure, cells in covered.items() if not figure.startswith("not taken")}
    lowest = min((value, figure, cell) for figure, cells in taken.items() for cell, value in cells.items())
    means = {figure: float(np.mean(list(cells.values()))) for figure, cells in covered.items()}
    return {"coverage": covered, "mean": means, "lowest": lowest[0], "lowest_of": f"{lowest[1]}, {lowest[2]}"}


def newcombe(cells: np.ndarray) -> tuple[float, float]:
    """Newcombe (1998), method 10, of both right, only A, only B, none: the alternative that was not taken."""
    a, b, c, d = map(float, cells)
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = wilson(round(a + b), round(n)), wilson(round(a + c), round(n))
    below = (a + b) * (c + d) * (a + c) * (b + d)
    above = a * d - b * c
    above = above - n / 2 if above > n / 2 else 0.0 if above > 0 else above
    phi = above / math.sqrt(below) if below > 0 else 0.0
    low = (p2 - p1) - math.sqrt(max(0.0, (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2))
    high = (p2 - p1) + math.sqrt(max(0.0, (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2))
    return low, high


def paired_difference(count: int) -> dict[str, Any]:
    """Coverage and mean width of both candidates, over accuracies of A and B and how often both are right."""
    generator = np.random.default_rng(0)
    methods = {
        "Agresti-Min (taken)": lambda x: difference_interval(int(x[1]), int(x[2]), int(x.sum())),
        "Newcombe 10": newcombe,
    }
    cells: dict[str, dict[str, Any]] = {method: {} for method in methods}
    for n in (50, 500, 5000):
        for a, b, both in (
            (0.5, 0.5, 0.35),
            (0.7, 0.8, 0.65),
            (0.9, 0.9, 0.85),
            (0.9, 0.95, 0.88),
            (0.99, 0.98, 0.975),
        ):
            draws = generator.multinomial(n, [both, a - both, b - both, 1 - a - b + both], size=count)
            for method, interval in methods.items():
                bounds = np.array([interval(x) for x in draws])
                inside = (bounds[:, 0] <= b - a + 1e-12) & (b - a - 1e-12 <= bounds[:, 1])
                width = float((bounds[:, 1] - bounds[:, 0]).mean())
                cells[method][f"A {a}, B {b}, both {both}, n {n}"] = {"coverage": float(inside.mean()), "width": width}
    return {
        method: {
            "mean": float(np.mean([cell["coverage"] for cell in found.values()])),
            "lowest": min(cell["coverage"] for cell in found.values()),
            "mean_width": float(np.mean([cell["width"] for cell in found.values()])),
            "cells": found,
        }
        for method, found in cells.items()
    }


def mcnemar_exact(count: int) -> dict[str, Any]:
    """Equal to the sum in whole numbers, and to statsmodels where it is installed; and the level under the null."""
    largest = 0.0
    for b in range(61):
        for c in range(61):
            tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
            wanted = min(1.0, 2 * tail / 2 ** (b + c))
            largest = max(largest, abs(mcnemar(b, c) - wanted))
    try:
        from statsmodels.stats.contingency_tables import mcnemar as theirs

        differences = [
            abs(mcnemar(b, c) - min(1.0, float(theirs([[50, b], [c, 50]], exact=True).pvalue)))
            for b in range(0, 61, 3)
            for c in range(0, 61, 3)
            if b + c
        ]
        statsmodels: float | str = max(differences)
    except ImportError:
        statsmodels = "not installed"
    generator = np.random.default_rng(0)
    rejected = {}
    for n, share in ((360, 0.02), (1000, 0.1), (10_000, 0.02), (10_000, 0.2)):
        discordant = generator.binomial(n, share, count)
        only_b = generator.binomial(discordant, 0.5)
        p = np.array([mcnemar(int(m - b), int(b)) for m, b in zip(discordant, only_b, strict=True)])
        rejected[f"n {n}, discordant {share}"] = float((p < 0.05).mean())
    return {
        "largest_difference_to_exact_sum": largest,
        "largest_difference_to_statsmodels": statsmodels,
        "rejected_under_null": rejected,
        "highest": max(rejected.values()),
    }


def recipes(count: int) -> dict[str, Any]:
    """How often two equal recipes are told apart at p < 0.05, and how often the interval holds 0.

    Right where 1.3 + an effect of the seed + one of the sample + a rest, all normal, is above 0; with sd 0 of the
    seeds, 0.05 and 0.2. For comparison: single models of the two recipes by McNemar.
    """
    generator = np.random.default_rng(0)
    cells = {}
    for seeds_a, seeds_b in ((2, 2), (3, 3), (5, 5), (3, 5)):
        for sd in (0.0, 0.05, 0.2):
            for n in (360, 2000):
                rejected, single = 0, 0
                for _ in range(count):
                    sample = 1.0 * generator.normal(size=n)

                    def right(seeds: int, sample: np.ndarray = sample, sd: float = sd) -> np.ndarray:
                        seed = sd * generator.normal(size=(seeds, 1))
                        return 1.3 + seed + sample + 0.5 * generator.normal(size=(seeds, len(sample))) > 0

                    a, b = right(seeds_a), right(seeds_b)
                    rejected += compare_seeds(a, b).p < 0.05
                    single += mcnemar(int((a[0] & ~b[0]).sum()), int((b[0] & ~a[0]).sum())) < 0.05
                cells[f"{seeds_a} and {seeds_b} seeds, sd {sd}, n {n}"] = {
                    "rejected": rejected / count,
                    "rejected_by_single_models": single / count,
                }
    return {"cells": cells, "highest": max(cell["rejected"] for cell in cells.values())}


if __name__ == "__main__":
    main()
