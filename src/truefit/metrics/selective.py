"""From which confidence on is the model right as often as is wanted? A threshold, with a bound that holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from truefit.config import require
from truefit.errors import InputError

WANTED = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""The accuracies for which calibration looks for a threshold."""

RISK_OF_FAILURE = 0.05


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """What a threshold on the confidence promises.

    accuracy: what was wanted of the answered samples. threshold: answer from this confidence on; None where no
    threshold keeps the promise on so few samples. n: samples it was fixed on. answered, correct: of these, the
    samples at or above the threshold, and the hits among them. bound: lower bound of the accuracy, which holds with
    probability 0.95 over the draw of the samples.
    """

    accuracy: float
    threshold: float | None
    n: int
    answered: int = 0
    correct: int = 0
    bound: float | None = None

    def holds(self, confidence: float) -> bool:
        """Whether a prediction of this confidence is answered."""
        return self.threshold is not None and confidence >= self.threshold

    @property
    def coverage(self) -> float:
        """The fraction of samples answered, 0..1."""
        return self.answered / self.n


def guarantee(
    confidence: np.ndarray, right: np.ndarray, accuracy: float, *, failure: float = RISK_OF_FAILURE
) -> Guarantee:
    """The lowest threshold found whose answered samples are right with at least `accuracy`, by a bound.

    confidence: (n,) 0..1, rounded to float32, as predictions are. right: (n,) bool. failure: probability, over the
    draw of the n samples, that the bound is false.

    Source: Geifman and El-Yaniv (2017), "Selective classification for deep neural networks", algorithm 1 (SGR): a
    binary search over the ordered confidences; each of its ceil(log2 n) steps uses the exact binomial (Clopper-
    Pearson) bound at failure / steps. It holds for samples drawn independently and like those to come, and that
    chose neither the model nor its temperature; where they did it is slightly optimistic.
    """
    require(0 < accuracy < 1, "accuracy", accuracy, "above 0 and below 1")
    n = len(confidence)
    levels = np.sort(confidence.astype(np.float32))
    steps = max(1, math.ceil(math.log2(max(2, n))))
    low, high = 0, n - 1
    best = Guarantee(accuracy=accuracy, threshold=None, n=n)
    for _ in range(steps):
        middle = (low + high) // 2
        answer = confidence.astype(np.float32) >= levels[middle]
        answered, correct = int(answer.sum()), int(right[answer].sum())
        bound = lower_bound(correct, answered, failure / steps)
        if bound >= accuracy:
            if answered > best.answered:
                threshold = float(levels[middle])
                best = Guarantee(
                    accuracy=accuracy, threshold=threshold, n=n, answered=answered, correct=correct, bound=bound
                )
            high = middle
        else:
            low = min(middle + 1, n - 1)
    return best


def lower_bound(correct: int, n: int, failure: float) -> float:
    """The one-sided exact binomial bound: a true rate below it gives `correct` or more of n with at most `failure`.

    Source: Clopper and Pearson (1934), by the beta quantile.
    """
    from scipy.special import betaincinv

    return 0.0 if correct == 0 else float(betaincinv(correct, n - correct + 1, failure))


def find_guarantee(known: Sequence[Guarantee], accuracy: float) -> Guarantee:
    """The stored guarantee for at least this accuracy. Raises InputError where there is none, or no threshold."""
    require(0 < accuracy < 1, "sure", accuracy, "an accuracy above 0 and below 1", "--sure 0.95")
    if not known:
        raise InputError(
            "this model has no thresholds",
            found="a model that was not calibrated",
            wanted="thresholds fixed on validation",
            fix="truefit calibrate RUN, or truefit train --calibrate",
        )
    enough = sorted((item for item in known if item.accuracy >= accuracy), key=lambda item: item.accuracy)
    usable = [item for item in enough if item.threshold is not None]
    if not usable:
        reached = [item.accuracy for item in known if item.threshold is not None]
        raise InputError(
            f"no threshold promises an accuracy of {accuracy:g}",
            found=f"on {known[0].n:,} validation images at most {max(reached):g}" if reached else "none at all",
            wanted=f"one of at most {max(item.accuracy for item in known):g} that these images can support",
            fix="ask for less, or calibrate on more validation images",
        )
    return usable[0]
