"""Which temperature makes the probabilities believable?"""

from __future__ import annotations

import math

import numpy as np

from truefit.config import require

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, 0.05..20, that gives the least cross-entropy when the logits are divided by it.

    logits: (n, K), labels: (n,). Above 1 where the network is too sure, below 1 where it is not sure enough.
    Source: Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", section 4.2. The
    cross-entropy is convex in 1 / temperature, so it has one minimum, which a bounded search in log temperature finds.
    Returns 1 where no temperature is better than that. Where every sample is right any small temperature would do
    better still, without end: the bound is then the answer.
    """
    from scipy.optimize import minimize_scalar

    require(len(labels) > 0, "labels", len(labels), "at least one sample")
    scores = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return cross_entropy(scores / math.exp(log_temperature), labels)

    found = minimize_scalar(
        loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-6}
    )
    return float(math.exp(found.x)) if found.fun < loss(0.0) else 1.0


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean cross-entropy in nats of logits (n, K) for labels (n,)."""
    from scipy.special import log_softmax

    log_probabilities = log_softmax(logits, axis=1)
    return -math.fsum(log_probabilities[np.arange(len(labels)), labels].tolist()) / len(labels)
