"""How far can the accuracy of cross-validation be trusted?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from truefit.metrics.intervals import wilson

METHOD = "corrected resampled t over folds, 95 %, approximate, at least Wilson's"


def folds_interval(correct: Sequence[int], n: Sequence[int]) -> tuple[float, float]:
    """An approximate 95 % interval for the accuracy of models trained as those of the folds, clipped to 0..1.

    correct, n: hits and samples of each of K >= 2 folds. Half its width is the 0.975 quantile of t with K - 1 degrees
    of freedom times sqrt((1/K + 1/(K-1)) S^2), where S^2 is the variance of the folds' accuracies: Nadeau and Bengio
    (2003), "Inference for the generalization error", section 4, with test/train sizes 1/(K-1). It is never narrower
    than the Wilson interval of the pooled hits. Approximate: no unbiased estimate of this variance exists (Bengio and
    Grandvalet 2004), and what is estimated is the mean over training sets of this size, not one model's accuracy
    (Bates, Hastie, Tibshirani 2023). benchmarks/results/folds.json has its coverage in simulations.
    """
    accuracies = np.asarray(correct, np.float64) / np.asarray(n, np.float64)
    folds, p = len(accuracies), sum(correct) / sum(n)
    spread = math.sqrt((1 / folds + 1 / (folds - 1)) * float(accuracies.var(ddof=1)))
    half = float(stdtrit(folds - 1, 0.975)) * spread
    low, high = wilson(sum(correct), sum(n))
    return max(0.0, min(low, p - half)), min(1.0, max(high, p + half))
