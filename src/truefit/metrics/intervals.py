"""Confidence intervals of proportions, of means of proportions, and of figures whose variance is known."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

WILSON = "Wilson 95 %"
MODIFIED_WILSON = "modified Wilson, 95 %"
MOVER = "MOVER of modified Wilson's, 95 %"
HALL = "Hall's transformation, 95 %"
WILSON_EFFECTIVE = "Wilson at the effective sample size, 95 %"
STUDENT = "Student's t, 95 %"

Interval = tuple[float, float]


def quantile(confidence: float = 0.95) -> float:
    """The two-sided quantile of the standard normal distribution: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """The Wilson score interval for `hits` of `n`, clipped to 0..1.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22, the
    roots of (p - p0)^2 = z^2 p0 (1 - p0) / n. Raises ValueError unless 0 <= hits <= n and n >= 1.
    """
    if not (n >= 1 and 0 <= hits <= n):
        raise ValueError(f"{hits} hits of {n} is not a proportion")
    return _score(hits / n, n, quantile(confidence))


def _score(p: float, n: float, z: float) -> Interval:
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n hits a bound equals p itself, but for rounding.
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))


def proportion(hits: int, n: int) -> Interval:
    """The modified Wilson 95 % interval: where 1 to 3 samples are hits or misses the outer bound is a Poisson one.

    Wilson's own covers as little as 84 % for proportions very close to 0 or 1 of some 50 samples; this covers at
    least 91 %. Source: Brown, Cai, DasGupta (2001), "Interval estimation for a binomial proportion", Statistical
    Science 16, section 4.1.1. Raises ValueError as `wilson` does.
    """
    from scipy.special import chdtri

    low, high = wilson(hits, n)
    few = 2 if n <= 50 else 3
    if 1 <= hits <= few:
        low = min(low, float(chdtri(2 * hits, 0.95)) / (2 * n))
    if 1 <= n - hits <= few:
        high = max(high, 1 - float(chdtri(2 * (n - hits), 0.95)) / (2 * n))
    return low, high


def mean_of_proportions(hits: np.ndarray, n: np.ndarray, weights: np.ndarray) -> Interval:
    """The 95 % interval of a weighted mean of independent proportions hits / n: arrays (m,), n >= 1, weights sum to 1.

    Source: Zou and Donner (2008), "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27 (the method of variance estimates recovery): each proportion's distance to its own
    bound (of `proportion`), weighted, squared and summed.
    """
    bounds = np.array([proportion(int(h), int(m)) for h, m in zip(hits, n, strict=True)])
    p = hits / n
    value = float(weights @ p)
    low = value - math.sqrt(float((weights**2) @ (p - bounds[:, 0]) ** 2))
    high = value + math.sqrt(float((weights**2) @ (bounds[:, 1] - p) ** 2))
    return max(0.0, low), min(1.0, high)


def effective_wilson(value: float, influence: np.ndarray, most: float, confidence: float = 0.95) -> Interval:
    """The interval of a figure in 0..1 from the influence of each sample on it: influence (n,), of mean 0.

    The variance is that of the infinitesimal jackknife, the sum of squared influences / n^2 (Efron 1982, "The
    jackknife, the bootstrap and other resampling plans", chapter 6). A proportion with this variance would come from
    value (1 - value) / variance samples, and has a Wilson interval (as in surveys: Franco, Little, Louis, Slud 2019,
    "Comparative study of confidence intervals for proportions in complex sample surveys", J. Surv. Stat. Methodol. 7).
    `most`: no more samples than these are believed in; close to 0 and 1 the variance is itself uncertain.
    """
    variance = float(influence @ influence) / len(influence) ** 2
    spread = value * (1 - value)
    effective = min(most, spread / variance) if variance > 0 and spread > 0 else most
    return _score(min(1.0, max(0.0, value)), effective, quantile(confidence))


def skewed_mean(values: np.ndarray, confidence: float = 0.95) -> Interval | None:
    """The interval of the mean of values (n,) whose distribution is skewed, such as losses. None for fewer than 2.

    Source: Hall (1992), "On the removal of skewness by transformation", JRSS B 54, the cubic transformation g and its
    inverse. It was taken for its coverage, over Student's t: benchmarks/results/intervals.json.
    """
    n, mean, sd = len(values), float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if n < 2:
        return None
    z = quantile(confidence) / math.sqrt(n)
    skew = float(np.mean(((values - mean) / sd) ** 3)) if sd > 0 else 0.0
    if abs(skew) < 1e-6:
        return mean - z * sd, mean + z * sd

    def inverse(t: float) -> float:
        return 3 / skew * (float(np.cbrt(1 + skew * (t - skew / (6 * n)))) - 1)

    # The mean itself is always inside: with few, very skewed values the correction could move past it.
    return min(mean, mean - sd * inverse(z)), max(mean, mean - sd * inverse(-z))


def student(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval of a mean, values (n,): mean +- t s / sqrt(n). None for fewer than 2 values.

    Source: Student (1908), "The probable error of a mean", Biometrika 6.
    """
    from scipy.special import stdtrit

    if len(values) < 2:
        return None
    mean = float(values.mean())
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean - half, mean + half
