"""Confidence intervals of a proportion."""

from __future__ import annotations

import math
from statistics import NormalDist

WILSON = "Wilson 95 %"


def wilson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval for `hits` of `n`, clipped to 0..1.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22, the
    roots of (p - p0)^2 = z^2 p0 (1 - p0) / n. Raises ValueError unless 0 <= hits <= n and n >= 1.
    """
    if not (n >= 1 and 0 <= hits <= n):
        raise ValueError(f"{hits} hits of {n} is not a proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n hits a bound equals p itself, but for rounding.
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
