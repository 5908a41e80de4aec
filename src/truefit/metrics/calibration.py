"""Whether the confidence can be believed."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 15


def expected_error(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> float:
    """The expected calibration error alone, 0..1; see `measure`."""
    error: float = measure(probabilities, labels, predicted)["expected_calibration_error"]
    return error


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Expected calibration error and the reliability curve, over 15 bins of equal width in confidence.

    Source: Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", equation 3: the mean
    over bins of |accuracy - confidence|, weighted by the bins' counts. Bins are (low, high], the first with 0.
    """
    confidence = probabilities[np.arange(len(predicted)), predicted]
    right = predicted == labels
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sum_right = np.bincount(place, weights=right, minlength=BINS)
    sum_confidence = np.bincount(place, weights=confidence, minlength=BINS)
    filled = [bin for bin in range(BINS) if count[bin]]
    return {
        "expected_calibration_error": float(np.abs(sum_right - sum_confidence).sum() / len(labels)),
        "mean_confidence": float(confidence.mean()),
        "bins": BINS,
        "curve": [
            {
                "low": bin / BINS,
                "high": (bin + 1) / BINS,
                "n": int(count[bin]),
                "confidence": float(sum_confidence[bin] / count[bin]),
                "accuracy": float(sum_right[bin] / count[bin]),
            }
            for bin in filled
        ],
    }
