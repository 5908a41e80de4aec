"""Two recipes, several trained models each: what differs between seeds, apart from which samples were drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from truefit.metrics.seed_variance import variance_components

METHOD = "Welch's t over seeds and samples, 95 %"


@dataclass(frozen=True, kw_only=True)
class SeedComparison:
    """The difference of two recipes, B - A, with the errors that it has from seeds and from samples.

    difference: of the mean accuracies, -1..1. interval: 95 %, clipped to -1..1. p: two-sided. degrees: of freedom.
    sd_a, sd_b: standard deviation of the accuracy between seeds. seed_error, sample_error: standard errors of the
    difference from the seeds alone and from the samples alone. error: of both together.
    """

    difference: float
    interval: tuple[float, float]
    p: float
    degrees: float
    sd_a: float
    sd_b: float
    seed_error: float
    sample_error: float
    error: float


def compare_seeds(right_a: np.ndarray, right_b: np.ndarray) -> SeedComparison:
    """Compare two recipes. right_a: bool (seeds of A, n), right_b: bool (seeds of B, n); 2 seeds or more each.

    Hits are decomposed into effects of seed, of sample, and a rest (see `metrics.seed_variance`). The variance of the
    difference is then estimated by

        s_A^2 / S_A + s_B^2 / S_B + s_d^2 / n - e_A^2 / (n S_A) - e_B^2 / (n S_B)

    with s_A^2 the variance of A's S_A accuracies, s_d^2 the variance over samples of the difference between the two
    recipes' mean hits, and e_A^2 the mean square of A's rest, which the other terms count twice. Samples are paired,
    seeds are not. It is never taken for smaller than the variance from seeds alone, or from samples alone. The
    degrees of freedom follow Satterthwaite (1946) and Welch (1947). The same decomposition serves readers and cases
    in radiology: Obuchowski and Rockette (1995), Hillis (2007).
    """
    a, b = np.asarray(right_a, float), np.asarray(right_b, float)
    n = a.shape[1]
    (between_a, rest_a), (between_b, rest_b) = variance_components(a), variance_components(b)
    between, rest = (between_a, between_b), (rest_a, rest_b)
    sampling = float((b.mean(axis=0) - a.mean(axis=0)).var(ddof=1)) / n if n > 1 else 0.0
    variance = max(sum(between) + sampling - sum(rest), sum(between), sampling)
    difference = float(b.mean() - a.mean())
    # What is certain enough to count: thousands of samples, but only a few seeds.
    terms = [(between[0], len(a) - 1), (between[1], len(b) - 1), (sampling, max(1, n - 1))]
    below = sum(term**2 / freedom for term, freedom in terms)
    degrees = variance**2 / below if below > 0 else float(n)
    error = math.sqrt(variance)
    p = 2 * float(stdtr(degrees, -abs(difference) / error)) if error > 0 else float(difference == 0)
    half = float(stdtrit(degrees, 0.975)) * error
    return SeedComparison(
        difference=difference,
        interval=(max(-1.0, difference - half), min(1.0, difference + half)),
        p=p,
        degrees=degrees,
        sd_a=float(a.mean(axis=1).std(ddof=1)),
        sd_b=float(b.mean(axis=1).std(ddof=1)),
        seed_error=math.sqrt(max(0.0, sum(between) - sum(rest))),
        sample_error=math.sqrt(sampling),
        error=error,
    )
