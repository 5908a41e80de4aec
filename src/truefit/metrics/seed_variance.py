"""How far do models of one recipe differ, beyond what single samples do at random?"""

from __future__ import annotations

import numpy as np


def variance_components(right: np.ndarray) -> tuple[float, float]:
    """Two parts of the variance of a recipe's mean accuracy; right: bool (S seeds, n samples), S >= 2.

    Whether a model is right on a sample is taken as the sum of a mean, an effect of the seed, one of the sample, and
    a rest (two-way crossed random effects; Searle, Casella, McCulloch 1992, "Variance components", chapter 4).
    Returns (between, rest): between is the variance of the S accuracies / S, and is never taken for smaller than the
    rest, e^2 / (n S) with e^2 the mean square of the rest, which it contains: two seeds may have equal accuracies by
    chance.
    """
    hits = np.asarray(right, float)
    seeds, n = hits.shape
    between = float(hits.mean(axis=1).var(ddof=1)) / seeds
    if n < 2:
        return between, 0.0
    rest = hits - hits.mean(axis=1, keepdims=True) - hits.mean(axis=0, keepdims=True) + hits.mean()
    square = float(np.sum(rest**2)) / ((seeds - 1) * (n - 1))
    return max(between, square / (n * seeds)), square / (n * seeds)
