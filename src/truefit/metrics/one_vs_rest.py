"""One class against all others: what ROC-AUC and average precision have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from truefit.metrics.intervals import effective_wilson

# (scores of the class's samples, ascending; scores of all others) -> value, influences on it, largest effective n
Curve = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray, np.ndarray, float]]

# Columns are copied together: one by one they would be gathered from all over the memory.
COLUMNS = 32


def each_class(probabilities: np.ndarray, labels: np.ndarray, curve: Curve) -> dict[str, Any]:
    """per_class: value and interval of each class, None without samples of it or of others; macro: their mean.

    labels: (n,); or 0 and 1 (n, K), where a sample may be of several classes. classes: how many the mean is over.
    Takes O(n K log n) time and O(n) memory beside the probabilities.
    """
    n, classes = probabilities.shape
    rows: list[dict[str, Any]] = []
    values: list[float] = []
    limits: list[float] = []
    whole = np.zeros(n)
    for start in range(0, classes, COLUMNS):
        columns = np.ascontiguousarray(probabilities[:, start : start + COLUMNS].T)
        for index, scores in enumerate(columns, start=start):
            inside = labels == index if labels.ndim == 1 else labels[:, index] == 1
            if not inside.any() or inside.all():
                rows.append({"value": None, "interval": None})
                continue
            own = np.flatnonzero(inside)
            own = own[np.argsort(scores[own])]
            others = np.flatnonzero(~inside)
            value, of_own, of_others, most = curve(scores[own], scores[others])
            influence = np.empty(n)
            influence[own], influence[others] = of_own, of_others
            whole += influence
            rows.append({"value": value, "interval": list(effective_wilson(value, influence, most))})
            values.append(value)
            limits.append(most)
    if not values:
        return {"per_class": rows, "macro": {"value": None, "interval": None}, "classes": 0}
    mean = float(np.mean(values))
    interval = effective_wilson(mean, whole / len(values), float(np.sum(limits)))
    return {
        "per_class": rows,
        "macro": {"value": mean, "interval": list(interval)},
        "classes": len(values),
    }
