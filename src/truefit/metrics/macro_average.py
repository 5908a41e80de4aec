"""The plain means of precision, recall and F1 over the classes: each class counts alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.intervals import MOVER, WILSON_EFFECTIVE, effective_wilson, mean_of_proportions


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """precision, recall, f1 (0..1) with their intervals; a class where a ratio is undefined is left out of its mean.

    recall is over classes with samples, precision over predicted ones, f1 over those with either: where all classes
    have samples and are predicted, these are the usual means. None where no class is left (never for f1).
    """
    return averages(labels, predicted, np.ones(probabilities.shape[1]))


def averages(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Weighted means over the classes; weights (K,), not negative, are scaled to sum to 1 over the classes left."""
    classes = len(weights)
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    support, chosen = np.bincount(labels, minlength=classes), np.bincount(predicted, minlength=classes)
    result: dict[str, Any] = {}
    # Samples of one class, and samples taken for one class, are separate: these proportions are independent.
    for name, cases in (("precision", chosen), ("recall", support)):
        kept = (cases > 0) & (weights > 0)
        share = weights[kept] / weights[kept].sum() if kept.any() else None
        result[name] = None if share is None else float(share @ (hits[kept] / cases[kept]))
        result[f"{name}_interval"] = (
            None if share is None else list(mean_of_proportions(hits[kept], cases[kept], share))
        )
    kept = (support + chosen > 0) & (weights > 0)
    share = np.where(kept, weights, 0.0) / weights[kept].sum()
    union = np.maximum(support + chosen, 1)
    f1 = 2 * hits / union
    # How much a sample moves F1 = 2 hits / (support + chosen): through its hit, its class, and what it is taken for.
    per_sample = share / union
    moves = (labels == predicted) * 2 * per_sample[labels] - (per_sample * f1)[labels] - (per_sample * f1)[predicted]
    most = 1 / float((share[kept] ** 2 / np.maximum(support, chosen)[kept]).sum())
    result["f1"] = float(share @ f1)
    result["f1_interval"] = list(effective_wilson(result["f1"], moves * len(labels), most))
    result["interval_method"] = {"precision": MOVER, "recall": MOVER, "f1": WILSON_EFFECTIVE}
    result["classes"] = int(kept.sum())
    return result
