"""The confusion matrix."""

from __future__ import annotations

import numpy as np


def matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (K, K) int64: row = true class, column = predicted class."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> list[list[int]]:
    """Counts: row = true class, column = predicted class."""
    counts: list[list[int]] = matrix(labels, predicted, probabilities.shape[1]).tolist()
    return counts
