"""Which samples of an evaluation are worth a look: mistakes, doubtful hits, the cells of the confusion matrix."""

from __future__ import annotations

import numpy as np

from truefit.runs.evaluation import Evaluation


def confidence_of(evaluation: Evaluation) -> np.ndarray:
    """The probability of the predicted class, (n,) float32."""
    confidence: np.ndarray = evaluation.probabilities[np.arange(evaluation.n), evaluation.predicted]
    return confidence


def surest_mistakes(evaluation: Evaluation, most: int) -> list[int]:
    """Rows that are wrong, the most confident first."""
    wrong = np.flatnonzero(evaluation.predicted != evaluation.label)
    rows: list[int] = wrong[np.argsort(-confidence_of(evaluation)[wrong], kind="stable")][:most].tolist()
    return rows


def least_sure_hits(evaluation: Evaluation, most: int) -> list[int]:
    """Rows that are right, the least confident first."""
    right = np.flatnonzero(evaluation.predicted == evaluation.label)
    rows: list[int] = right[np.argsort(confidence_of(evaluation)[right], kind="stable")][:most].tolist()
    return rows


def some_of_each_class(evaluation: Evaluation, each: int, most: int) -> dict[int, list[int]]:
    """Up to `each` rows of every true class, spread evenly over the data set; `most` rows in all."""
    found: dict[int, list[int]] = {}
    left = most
    for label in np.unique(evaluation.label).tolist():
        rows = np.flatnonzero(evaluation.label == label)
        spread = np.unique(np.linspace(0, len(rows) - 1, min(each, left, len(rows))).round().astype(np.int64))
        if left <= 0:
            break
        found[label] = rows[spread].tolist()
        left -= len(spread)
    return found


def worst_pairs(evaluation: Evaluation, most: int | None = None) -> list[tuple[int, int, int]]:
    """(true class, predicted class, count) of the mistakes, the most frequent first."""
    wrong = evaluation.predicted != evaluation.label
    pairs, counts = np.unique(
        np.stack([evaluation.label[wrong], evaluation.predicted[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:most]
    return [(int(pairs[at][0]), int(pairs[at][1]), int(counts[at])) for at in order]


def cell_rows(evaluation: Evaluation, true: int, chosen: int, most: int) -> list[int]:
    """Rows of one cell of the matrix: mistakes with the surest first, hits with the least sure first."""
    rows = np.flatnonzero((evaluation.label == true) & (evaluation.predicted == chosen))
    sign = 1 if true == chosen else -1
    ordered: list[int] = rows[np.argsort(sign * confidence_of(evaluation)[rows], kind="stable")][:most].tolist()
    return ordered
