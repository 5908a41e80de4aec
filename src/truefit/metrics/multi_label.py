"""Figures of labels that are each present or not: every label on its own, and their means."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics import average_precision, roc_auc
from truefit.metrics.intervals import STUDENT, WILSON, proportion, student, wilson
from truefit.metrics.per_class import f1_interval

FIGURES = ("per_class", "label_accuracy", "average_precision", "roc_auc", "macro_average", "micro_average")
"""What `measure_labels` gives."""


def measure_labels(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Every figure, by name. probabilities (n, K) float64; labels and predicted (n, K), 0 or 1.

    per_class: as for one class an image, and accuracy with Wilson's interval: how often this label is rightly given or
    rightly left out. label_accuracy: the mean of that over labels, the share of right decisions (1 - Hamming loss); its
    interval is Student's over the samples' shares, as the labels of one image are not independent. average_precision:
    of each label; macro is the mean average precision (mAP). roc_auc: alike. macro_average: means over the labels that
    have a value. micro_average: over all decisions together.
    """
    right = predicted == labels
    rows = [_row(labels[:, at], predicted[:, at]) for at in range(labels.shape[1])]
    shares = right.mean(axis=1)
    bounds = student(shares)
    hits, support, chosen = int((labels & predicted).sum()), int(labels.sum()), int(predicted.sum())
    return {
        "per_class": rows,
        "label_accuracy": {
            "value": float(shares.mean()),
            "interval": None if bounds is None else [max(0.0, bounds[0]), min(1.0, bounds[1])],
            "interval_method": STUDENT,
        },
        "average_precision": average_precision.measure(probabilities, labels, predicted),
        "roc_auc": roc_auc.measure(probabilities, labels, predicted),
        "macro_average": {name: _mean([row[name] for row in rows]) for name in ("precision", "recall", "f1")},
        "micro_average": {
            "precision": hits / chosen if chosen else None,
            "recall": hits / support if support else None,
            "f1": 2 * hits / (support + chosen) if support + chosen else None,
        },
    }


def _row(labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    n, right = len(labels), int((labels == predicted).sum())
    hits, support, chosen = int((labels & predicted).sum()), int(labels.sum()), int(predicted.sum())
    return {
        "support": support,
        "predicted": chosen,
        "accuracy": right / n,
        "accuracy_interval": list(wilson(right, n)),
        "accuracy_interval_method": WILSON,
        "precision": hits / chosen if chosen else None,
        "precision_interval": list(proportion(hits, chosen)) if chosen else None,
        "recall": hits / support if support else None,
        "recall_interval": list(proportion(hits, support)) if support else None,
        "f1": 2 * hits / (support + chosen) if support + chosen else None,
        "f1_interval": list(f1_interval(hits, support, chosen)) if support + chosen else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """For each label the threshold with the highest F1: (n, K) probabilities, and 0 or 1.

    It lies half-way between two probabilities that occur. Of equal ones the one closest to 0.5 is taken; a label
    without a single sample keeps 0.5.
    """
    found = []
    for scores, present in zip(probabilities.T.astype(np.float64), labels.T, strict=True):
        order = np.argsort(-scores, kind="stable")
        values, hits = scores[order], np.cumsum(present[order])
        if hits[-1] == 0:
            found.append(0.5)
            continue
        f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
        # Equal probabilities can't be told apart: only the last of them is a place to cut.
        following = np.append(values[1:], 0.0)
        cuts = np.flatnonzero(values > following) if (values > following).any() else np.array([len(values) - 1])
        thresholds = (values[cuts] + following[cuts]) / 2
        best = np.flatnonzero(f1[cuts] >= f1[cuts].max() - 1e-12)
        found.append(float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]]))
    return tuple(min(max(value, 1e-6), 1 - 1e-6) for value in found)
