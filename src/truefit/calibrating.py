"""A trained network's confidence made believable: one temperature, and thresholds from which on it is sure.

Both are fixed on the split that chooses (validation), in one pass, and change no predicted class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from truefit import loop
from truefit.data.imageset import ImageSet
from truefit.events import Observer, nobody
from truefit.measure import batches_for
from truefit.metrics import calibration
from truefit.metrics.selective import WANTED, Guarantee, guarantee
from truefit.metrics.temperature import cross_entropy, fit_temperature
from truefit.precision import threads
from truefit.predictor import Predictor, PredictorConfig
from truefit.tasks.single_label import SingleLabel


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What calibration found on the n samples of a split.

    loss and expected_calibration_error are given at temperature 1 (before) and at the temperature found (after); the
    latter are selected on this very split. sure: for each wanted accuracy the threshold and what it promises.
    """

    split: str
    n: int
    temperature: float
    before: dict[str, float]
    after: dict[str, float]
    sure: tuple[Guarantee, ...]

    def applied(self, config: PredictorConfig) -> PredictorConfig:
        """The predictor's settings with the temperature and the thresholds."""
        return replace(config, temperature=self.temperature, sure=self.sure)

    def __str__(self) -> str:
        ece = "expected_calibration_error"
        # The temperature is fitted to the loss; the other figure is rough on few images.
        worse = " (no better: the loss decides)" if self.after[ece] > self.before[ece] else ""
        return (
            f"temperature {self.temperature:.3f}: calibration error {self.before[ece]:.1%} -> {self.after[ece]:.1%}"
            f"{worse}, loss {self.before['loss']:.4f} -> {self.after['loss']:.4f}, "
            f"n = {self.n:,} ({self.split}, selected on {self.split})"
        )


def calibrate_predictor(
    predictor: Predictor,
    dataset: Dataset[Any] | ImageSet,
    *,
    split: str,
    by: str | None = None,
    observe: Observer = nobody,
) -> Calibration:
    """Fit temperature and thresholds on a data set, and note in the ledger that it chose them.

    by: names a look that counts once, however often it was broken off and done again; None counts each.
    """
    batches = batches_for(predictor, dataset, split)
    task = SingleLabel(len(predictor.config.classes) or None)
    with threads(predictor.settings.threads):
        result = loop.evaluate(
            predictor.uncalibrated,
            batches,
            task,
            split=split,
            precision=predictor.precision,
            keep_outputs=True,
            observe=observe,
        )
    assert result.outputs is not None and result.targets is not None
    found = calibrate_logits(result.outputs.numpy(), result.targets.numpy(), split=split)
    if by is not None and predictor.ledger.looks(split, by=by):
        return found
    predictor.ledger.look(
        split,
        by=by or "calibrate",
        chose=("temperature", "thresholds"),
        n=found.n,
        fingerprint=dataset.fingerprint() if isinstance(dataset, ImageSet) else None,
    )
    return found


def calibrate_logits(logits: np.ndarray, labels: np.ndarray, *, split: str) -> Calibration:
    """The same from logits (n, K) at temperature 1 and labels (n,)."""
    from scipy.special import softmax  # here and not above: training does not need it

    temperature = fit_temperature(logits, labels)
    predicted = logits.argmax(axis=1)

    def figures(scores: np.ndarray) -> dict[str, float]:
        error = calibration.expected_error(softmax(scores, axis=1), labels, predicted)
        return {"loss": cross_entropy(scores, labels), "expected_calibration_error": error}

    plain = logits.astype(np.float64)
    scaled = plain / temperature
    confidence = softmax(scaled, axis=1)[np.arange(len(labels)), predicted]
    right = predicted == labels
    return Calibration(
        split=split,
        n=len(labels),
        temperature=temperature,
        before=figures(plain),
        after=figures(scaled),
        sure=tuple(guarantee(confidence, right, wanted) for wanted in WANTED),
    )
