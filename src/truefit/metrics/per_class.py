"""Precision, recall and F1 of each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.confusion import matrix
from truefit.metrics.intervals import proportion


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> list[dict[str, Any]]:
    """For each class: support, predicted (counts), precision, recall, f1 (0..1), and 95 % intervals.

    A ratio without cases is None: precision of a class that is never predicted, recall of one without samples.
    precision_interval, recall_interval: modified Wilson's, see `proportion`. f1_interval: see `f1_interval`.
    """
    counts = matrix(labels, predicted, probabilities.shape[1])
    rows = []
    for index in range(len(counts)):
        hits, support, chosen = (
            int(counts[index, index]),
            int(counts[index].sum()),
            int(counts[:, index].sum()),
        )
        rows.append(
            {
                "support": support,
                "predicted": chosen,
                "precision": hits / chosen if chosen else None,
                "precision_interval": list(proportion(hits, chosen)) if chosen else None,
                "recall": hits / support if support else None,
                "recall_interval": list(proportion(hits, support)) if support else None,
                "f1": 2 * hits / (support + chosen) if support + chosen else None,
                "f1_interval": list(f1_interval(hits, support, chosen)) if support + chosen else None,
            }
        )
    return rows


def f1_interval(hits: int, support: int, chosen: int) -> tuple[float, float]:
    """The 95 % interval of F1 = 2 J / (1 + J), from the interval of J = hits / (support + chosen - hits).

    Of the samples that are of the class or taken for it, `hits` are both. Given their number, the hits are
    binomial (samples being independent), so J is a proportion, and F1 a rising function of it.
    """
    low, high = proportion(hits, support + chosen - hits)
    return 2 * low / (1 + low), 2 * high / (1 + high)
