"""The means of precision, recall and F1 over the classes, each weighted by its number of samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.intervals import WILSON, wilson
from truefit.metrics.macro_average import averages


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """precision, recall, f1 (0..1) with their intervals. recall weighted in this way is the accuracy.

    A class that is never predicted is left out of precision's mean.
    """
    result = averages(labels, predicted, np.bincount(labels, minlength=probabilities.shape[1]).astype(float))
    correct, n = int((labels == predicted).sum()), len(labels)
    result |= {"recall": correct / n, "recall_interval": list(wilson(correct, n))}
    result["interval_method"]["recall"] = WILSON
    return result
