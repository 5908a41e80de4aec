"""The mean of the classes' recalls: accuracy as if each class had equally many samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.intervals import MOVER, mean_of_proportions


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """value (0..1), interval, and how many classes it is the mean of: those with samples.

    Source: Brodersen, Ong, Stephan, Buhmann (2010), "The balanced accuracy and its posterior distribution".
    """
    support = np.bincount(labels, minlength=probabilities.shape[1])
    hits = np.bincount(labels[labels == predicted], minlength=probabilities.shape[1])
    seen = support > 0
    recalls, share = hits[seen] / support[seen], np.full(int(seen.sum()), 1 / seen.sum())
    return {
        "value": float(recalls.mean()),
        "interval": list(mean_of_proportions(hits[seen], support[seen], share)),
        "interval_method": MOVER,
        "classes": int(seen.sum()),
    }
