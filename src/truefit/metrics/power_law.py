"""How does the error fall with the number of training images? A power law, and how little is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXPONENTS = np.geomspace(0.02, 3.0, 80)


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """error(n) = floor + scale * (n / reference) ** -exponent; floor and scale are at least 0."""

    floor: float
    scale: float
    exponent: float
    reference: float

    def error(self, n: float) -> float:
        """The error, 0..1, after training on n images."""
        return float(min(1.0, self.floor + self.scale * (n / self.reference) ** -self.exponent))


def fit_power_law(n: Sequence[float], error: np.ndarray, deviation: np.ndarray) -> PowerLaw:
    """Weighted least squares over floor, scale and exponent (0.02..3), both linear ones at least 0.

    n, error, deviation: (points,); deviation is the standard deviation of each error, above 0. The form with a floor
    is that of Hestness et al. (2017), "Deep learning scaling is predictable, empirically", equation 1.
    """
    reference, weight = float(max(n)), 1 / deviation**2
    x = (np.asarray(n, np.float64) / reference)[None, :] ** -EXPONENTS[:, None]
    sw, sx, sxx = weight.sum(), x @ weight, x**2 @ weight
    sy, sxy = error @ weight, x @ (weight * error)
    determinant = np.maximum(sw * sxx - sx**2, 1e-300)
    scale = (sw * sxy - sx * sy) / determinant
    floor = (sy - scale * sx) / sw
    # At a bound the other one alone is fitted.
    scale, floor = np.where(floor < 0, sxy / sxx, scale), np.maximum(floor, 0)
    floor, scale = np.where(scale < 0, sy / sw, floor), np.maximum(scale, 0)
    misfit = ((error[None, :] - floor[:, None] - scale[:, None] * x) ** 2) @ weight
    best = int(misfit.argmin())
    return PowerLaw(
        floor=float(floor[best]), scale=float(scale[best]), exponent=float(EXPONENTS[best]), reference=reference
    )


def bootstrap(hits: Sequence[np.ndarray], draws: int, seed: int) -> np.ndarray:
    """Mean accuracies (draws, points): for each draw the evaluated samples are drawn anew, the same for all points,
    and the trainings of each point too. hits: for each point bool (trainings, n), on the same n samples."""
    random = np.random.default_rng(seed)
    found = np.empty((draws, len(hits)))
    for draw in range(draws):
        count = random.multinomial(hits[0].shape[1], np.full(hits[0].shape[1], 1 / hits[0].shape[1]))
        for at, point in enumerate(hits):
            chosen = random.integers(len(point), size=len(point))
            found[draw, at] = (point[chosen] @ count).mean() / count.sum()
    return found
