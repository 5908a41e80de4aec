"""What is gained by answering only where the model is sure: risk over coverage."""

from __future__ import annotations

from typing import Any

import numpy as np

POINTS = 20


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """The risk-coverage curve and the area under it.

    Samples are answered in the order of their confidence, the probability of the predicted class. Coverage is the
    fraction answered (0..1), risk the fraction of errors among these (0..1). `area` (AURC) is the mean risk over
    the coverages 1/n, 2/n ... 1; less is better. `area_of_perfect_order`: what it would be if all errors came last.
    `curve`: 20 points of equal steps in coverage, with the confidence down to which samples are answered.
    Samples of equal confidence can't be told apart: each counts with the mean error of them all.

    Source: Geifman, Uziel, El-Yaniv (2019), "Bias-reduced uncertainty estimation for deep neural classifiers",
    section 2, with confidence as kappa; the perfect order is theirs for E-AURC.
    """
    n = len(labels)
    confidence = probabilities[np.arange(n), predicted]
    wrong = (predicted != labels).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    _, group, count = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    expected = (np.bincount(group, weights=wrong[order]) / count)[group]
    answered = np.arange(1, n + 1)
    risk = np.cumsum(expected) / answered
    last = np.sort(wrong)
    points = sorted({max(1, round(n * point / POINTS)) for point in range(1, POINTS + 1)})
    return {
        "area": float(risk.mean()),
        "area_of_perfect_order": float((np.cumsum(last) / answered).mean()),
        "curve": [
            {
                "coverage": point / n,
                "risk": float(min(1.0, risk[point - 1])),
                "confidence": float(confidence[order[point - 1]]),
            }
            for point in points
        ],
    }
