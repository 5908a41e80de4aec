"""An evaluation of a network that gives any number of labels to each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from truefit.errors import InputError
from truefit.metrics.multi_label import FIGURES, measure_labels
from truefit.runs.evaluation import MULTI_LABEL, Evaluation, refuse_not_finite


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MultiLabelEvaluation(Evaluation):
    """As `Evaluation`, but label and predicted are (n, K) of 0 and 1, and probabilities (n, K) are one a label.

    accuracy: the share of samples all of whose labels are right (subset accuracy, exact match), with Wilson's interval.
    How often each label is right stands in `per_class` and `label_accuracy`. loss: mean binary cross-entropy over
    samples and labels, in nats. thresholds: from which probability on each label was given.
    """

    thresholds: tuple[float, ...]

    @classmethod
    def from_label_logits(
        cls,
        logits: np.ndarray,
        labels: np.ndarray,
        *,
        thresholds: tuple[float, ...],
        classes: tuple[str, ...],
        split: str,
        selected_on: str | None = None,
        weights: str = "as given",
        averaging: str = "none",
        looks: int = 1,
        paths: tuple[str, ...] | None = None,
    ) -> MultiLabelEvaluation:
        """From logits (n, K) and labels (n, K) of 0 and 1, in the order of the data set.

        InputError where there is no sample, an output is not finite, or a label is something else.
        """
        if len(labels) == 0:
            raise InputError("there is nothing to evaluate", where=split, found="no samples", wanted="at least 1")
        present = labels.astype(np.int64)
        if not ((present == labels).all() and ((present == 0) | (present == 1)).all()):
            raise InputError("several labels must be 0 or 1", where=split, found=f"{labels.min()} to {labels.max()}")
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        refuse_not_finite(bad, len(logits), split)
        predicted, probabilities = given_labels(logits, thresholds)
        plain = logits.astype(np.float64)
        from scipy.special import log_expit  # here and not above: training does not need it

        losses = -np.where(present == 1, log_expit(plain), log_expit(-plain)).mean(axis=1)
        return cls(
            split=split,
            selected_on=selected_on,
            weights=weights,
            averaging=averaging,
            looks=looks,
            classes=classes,
            correct=int((predicted == present).all(axis=1).sum()),
            loss=math.fsum(losses.tolist()) / len(losses),
            index=np.arange(len(labels)),
            label=present,
            predicted=predicted,
            probabilities=probabilities,
            paths=paths,
            thresholds=thresholds,
        )

    @property
    def hits(self) -> np.ndarray:
        """(n,) bool: which samples have all their labels right."""
        right: np.ndarray = (self.predicted == self.label).all(axis=1)
        return right

    @property
    def sample_losses(self) -> np.ndarray:
        """(n,) float64: the mean over labels, from the stored probabilities."""
        p = self.probabilities.astype(np.float64)
        losses: np.ndarray = -np.log(np.maximum(np.where(self.label == 1, p, 1 - p), 1e-45)).mean(axis=1)
        return losses

    @cached_property
    def measures(self) -> dict[str, Any]:
        """Every figure of `metrics.multi_label`, from the predictions alone."""
        return measure_labels(self.probabilities.astype(np.float64), self.label, self.predicted)

    def _figures(self) -> Sequence[str]:
        return FIGURES

    def to_json(self) -> dict[str, Any]:
        """The figures, as they stand in evaluation.json."""
        return {**super().to_json(), "task": MULTI_LABEL, "thresholds": list(self.thresholds)}


def given_labels(logits: np.ndarray, thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 (n, K), 0 or 1, and probabilities float32 (n, K), from logits: the same way wherever it is asked."""
    from scipy.special import expit

    probabilities = expit(logits.astype(np.float64)).astype(np.float32)
    return (probabilities >= np.asarray(thresholds, np.float32)).astype(np.int64), probabilities
