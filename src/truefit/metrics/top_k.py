"""How often the true class is among the k most probable."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.intervals import proportion

KS = (2, 3, 5, 10)


def ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The place of each true class, (n,) int64: 0 is the most probable; of equals the lower index comes first."""
    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    found: np.ndarray = ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)
    return found


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> list[dict[str, Any]]:
    """For k = 2, 3, 5, 10, as far as there are more classes: k, correct (count), accuracy, its interval."""
    place, n = ranks(probabilities, labels), len(labels)
    rows = []
    for k in KS:
        if k < probabilities.shape[1]:
            correct = int((place < k).sum())
            rows.append({"k": k, "correct": correct, "accuracy": correct / n, "interval": list(proportion(correct, n))})
    return rows
