"""The area under the ROC curve, one class against all others."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.one_vs_rest import each_class


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """per_class: value (0..1) and interval for each class; macro: their mean, with its interval; classes: how many.

    A class without samples, or with nothing else, has None, and the mean leaves it out.
    """
    method = "Wilson at the effective sample size of DeLong's variance, 95 %"
    return {**each_class(probabilities, labels, area), "interval_method": method}


def area(own: np.ndarray, others: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """How often a sample of the class (own, ascending) scores higher than one of the others; ties count half.

    The influence of a sample is how far its own part of the comparisons lies from the mean (its "placement"): the
    variance that follows is that of DeLong, DeLong, Clarke-Pearson (1988), "Comparing the areas under two or more
    correlated receiver operating characteristic curves", Biometrics 44. Close to an area of 1 the
    variance of Hanley and McNeil (1982) is that of a proportion of as many samples as the harmonic mean of the two
    counts; more than twice as many are never assumed, where DeLong's alone covers as little as 87 %.
    """
    positives, negatives = len(own), len(others)
    left, right = np.searchsorted(own, others, "left"), np.searchsorted(own, others, "right")
    # Of the class's samples: above each of the others, with half of the equal ones.
    beaten = (positives - (left + right) / 2) / positives
    # Of the others: below each of the class's samples.
    above = np.cumsum(np.bincount(left, minlength=positives + 1))[:positives]
    reached = np.cumsum(np.bincount(right, minlength=positives + 1))[:positives]
    winning = (above + reached) / (2 * negatives)
    value = float(winning.mean())
    # An unbiased variance has n - 1 below; the sum over all samples is divided by n^2 later.
    n = positives + negatives
    of_own = (winning - value) * n / np.sqrt(positives * max(1, positives - 1))
    of_others = (beaten - value) * n / np.sqrt(negatives * max(1, negatives - 1))
    return value, of_own, of_others, 4 / (1 / positives + 1 / negatives)
