"""Two models on the same samples: McNemar's test, the interval of the difference, Holm's correction, sample sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from scipy.stats import binomtest

from truefit.metrics.intervals import quantile

AGRESTI_MIN = "Agresti-Min 95 %"
MCNEMAR = "McNemar, exact, two-sided"
POWER = 0.8


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p-value of McNemar's test; 1 where the two are right on the same samples.

    only_a, only_b: samples that only A, only B gets right. If neither is better each such sample falls to either
    side with probability 1/2. Source: McNemar (1947), "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 12; exact: the sign test.
    """
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_b, only_a + only_b, 0.5).pvalue)


def difference_interval(only_a: int, only_b: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of (only_b - only_a) / n, the difference of two paired proportions, in -1..1.

    Source: Agresti and Min (2005), "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24: Wald's interval after adding 1/2 to each of the four cells. It was chosen over
    Newcombe's method 10 (1998) by its measured coverage: benchmarks/results/intervals.json.
    """
    total, b, c = n + 2, only_b + 0.5, only_a + 0.5
    centre = (b - c) / total
    half = quantile(confidence) * math.sqrt((b + c) - (b - c) ** 2 / total) / total
    found = (only_b - only_a) / n
    return max(-1.0, min(found, centre - half)), min(1.0, max(found, centre + half))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order given: each stays valid while all are looked at together.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def samples_needed(only_a: int, only_b: int, n: int, difference: float = 0.01) -> int:
    """About how many samples show a difference (above 0, at most 1) with a chance of 80 %, at p < 0.05.

    The share of samples on which the two differ is taken from what was seen, and is at least the difference.
    Source: Connor (1987), "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43, equation 1.
    """
    share = max((only_a + only_b) / n, difference)
    power = NormalDist().inv_cdf(POWER)
    root = quantile() * math.sqrt(share) + power * math.sqrt(share - difference**2)
    return math.ceil((root / difference) ** 2)
