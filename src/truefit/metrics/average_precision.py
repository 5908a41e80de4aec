"""Average precision, one class against all others: the area under the precision-recall curve, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from truefit.metrics.intervals import WILSON_EFFECTIVE
from truefit.metrics.one_vs_rest import each_class


def measure(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """per_class: value (0..1) and interval for each class; macro: their mean, with its interval; classes: how many.

    A class without samples, or with nothing else, has None, and the mean leaves it out.
    """
    return {**each_class(probabilities, labels, precision_mean), "interval_method": WILSON_EFFECTIVE}


def precision_mean(own: np.ndarray, others: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """The mean, over the class's samples (own, ascending), of the precision among all that score at least as high.

    The influences are derivatives of the mean by the weight of each sample. Boyd, Eng, Page (2013), "Area
    under the precision-recall curve: point estimates and confidence intervals", section 3, take a proportion of as
    many samples as the class has; here the influences decide, but for twice as many at most.
    """
    positives, n = len(own), len(own) + len(others)
    # Counts of samples that score at least as high as each of the class's.
    right = positives - np.searchsorted(own, own, "left")
    place = np.searchsorted(own, others, "right")
    wrong = np.cumsum(np.bincount(place, minlength=positives + 1)[::-1])[::-1][1:]
    precision = right / (right + wrong)
    value = float(precision.mean())
    # A further sample of the class adds its own precision, and raises that of all that score at most as high; one of
    # the others lowers them.
    raised = np.concatenate([[0.0], np.cumsum(wrong / (right + wrong) ** 2)])
    lowered = np.concatenate([[0.0], np.cumsum(right / (right + wrong) ** 2)])
    of_own = (precision - value + raised[np.searchsorted(own, own, "right")]) * n / positives
    of_others = -lowered[place] * n / positives
    return value, of_own, of_others, 2.0 * positives
