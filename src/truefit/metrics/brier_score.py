"""The Brier score: the mean squared distance between the probabilities and what happened."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.intervals import HALL, skewed_mean


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """value (0..2, lower is better) and interval (None for a single sample).

    Source: Brier (1950), "Verification of forecasts expressed in terms of probability", equation 2: summed over all
    classes, so that two classes give twice the score of one of them alone.
    """
    own = probabilities[np.arange(len(labels)), labels]
    scores = np.einsum("nk,nk->n", probabilities, probabilities) - 2 * own + 1
    # A sum of squares: what is below 0 is rounding.
    scores = np.maximum(scores, 0.0)
    bounds = skewed_mean(scores)
    return {
        "value": float(scores.mean()),
        "interval": None if bounds is None else [max(0.0, bounds[0]), min(2.0, bounds[1])],
        "interval_method": HALL,
    }
