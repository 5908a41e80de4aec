"""How often the interval of cross-validation holds: simulated data whose true accuracies are known.

    python benchmarks/folds.py [--repeats 1000]

Two classes, Gaussian in 20 dimensions; linear discriminant analysis (one covariance for both, a little shrunk). The
accuracy of each fitted line follows from the normal distribution exactly, so nothing but the folds is random.
`grouped`: samples come in groups of 5 with a common part, and folds keep groups together.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from protocol import save
from scipy.stats import norm

from truefit.metrics.folds import folds_interval
from truefit.metrics.intervals import wilson

DIMENSIONS, DISTANCE, GROUP, WITHIN = 20, 2.0, 5, 0.6
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(random: np.random.Generator, n: int, grouped: bool) -> Arrays:
    """Samples (n, 20), labels, groups. Every sample has variance 1 in each dimension."""
    size = GROUP if grouped else 1
    group = np.arange(n) // size
    labels = random.integers(2, size=n // size)[group]
    common = random.normal(size=(n // size, DIMENSIONS))[group]
    own = random.normal(size=(n, DIMENSIONS))
    samples = np.sqrt(WITHIN) * common + np.sqrt(1 - WITHIN) * own if grouped else own
    samples[:, 0] += (labels - 0.5) * DISTANCE
    return samples, labels, group


def fitted(samples: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and offset of the discriminant."""
    means = np.stack([samples[labels == label].mean(axis=0) for label in (0, 1)])
    covariance = np.cov((samples - means[labels]).T) + 0.1 * np.eye(DIMENSIONS)
    weights = np.linalg.solve(covariance, means[1] - means[0])
    return weights, float(weights @ means.mean(axis=0))


def true_accuracy(weights: np.ndarray, offset: float) -> float:
    """On an endless stream of new samples."""
    length, shift = np.linalg.norm(weights), weights[0] * DISTANCE / 2
    return float((norm.cdf((shift - offset) / length) + norm.cdf((shift + offset) / length)) / 2)


def one(random: np.random.Generator, n: int, folds: int, grouped: bool) -> dict[str, Any]:
    """Cross-validate once."""
    samples, labels, group = draw(random, n, grouped)
    number = (random.permutation(group.max() + 1) % folds)[group]
    correct, sizes, true = [], [], []
    for fold in range(folds):
        held = number == fold
        weights, offset = fitted(samples[~held], labels[~held])
        correct.append(int(((samples[held] @ weights > offset) == (labels[held] == 1)).sum()))
        sizes.append(int(held.sum()))
        true.append(true_accuracy(weights, offset))
    return {
        "wilson": wilson(sum(correct), sum(sizes)),
        "folds": folds_interval(correct, sizes),
        "folds_true": float(np.mean(true)),
        "all_true": true_accuracy(*fitted(samples, labels)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    settings = [(n, folds, grouped) for grouped in (False, True) for n in (100, 400, 1000) for folds in (5, 10)]
    rows = []
    for number, (n, folds, grouped) in enumerate(settings):
        random = np.random.default_rng(number)
        found = [one(random, n, folds, grouped) for _ in range(repeats)]
        expected = float(np.mean([item["folds_true"] for item in found]))
        row: dict[str, Any] = {"n": n, "folds": folds, "grouped": grouped, "expected_accuracy": expected}
        for method in ("wilson", "folds"):
            bounds = np.array([item[method] for item in found])
            truths = {
                "expected": np.full(repeats, expected),
                "models_of_the_folds": np.array([item["folds_true"] for item in found]),
                "model_on_all": np.array([item["all_true"] for item in found]),
            }
            row[method] = {
                "mean_width": float((bounds[:, 1] - bounds[:, 0]).mean()),
                **{name: float(((bounds[:, 0] <= t) & (t <= bounds[:, 1])).mean()) for name, t in truths.items()},
            }
        rows.append(row)
    save(
        "folds",
        f"{repeats} simulated data sets for each row; share of 95 % intervals that hold the accuracy expected of "
        "models trained on n (K-1)/K samples, the mean true accuracy of the very models of the folds, and that of a "
        "model trained on all n; 'folds' is truefit's interval, 'wilson' that of the pooled hits taken as independent",
        {"rows": rows},
    )
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
