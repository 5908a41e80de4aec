"""Which labels do networks contradict that were trained on the other images?

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 2021; cleanlab's implementation) on out-of-fold probabilities of truefit's own ConvNet; of its candidates those
whose given class is all but ruled out. Networks are far too sure of what they rule out, more so for some pairs of
classes than for others (a cat is taken for a dog, and seldom for a truck). So their log-probabilities go through a
logistic regression on the given labels, out of fold as well (matrix scaling: Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017, sec. 4.2): what is left below the limit is contradicted as far as experience goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from truefit.data.images import Pixels

FOLDS, EPOCHS, BATCH = 3, 6, 64
CALIBRATION_FOLDS = 5
RULED_OUT, SUREST = 0.05, 0.25
"""A given class counts as ruled out below this share of what guessing would give it (1 / number of classes), above what
wrong labels alone leave to every class; these are counted among the surest quarter of the images."""


@dataclass(frozen=True, slots=True)
class LabelError:
    """A row whose given label is contradicted. confidence: probability of the given class, 0..1, out of fold."""

    row: int
    given: int
    predicted: int
    confidence: float
    predicted_confidence: float


def find_label_errors(
    thumbnails: Pixels,
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    epochs: int | None = None,
    seed: int = 0,
) -> list[LabelError]:
    """The likely errors, the worst first.

    thumbnails: uint8 (n, 32, 32, 3). labels: int64 (n,), classes of fewer than 2 x FOLDS are left out. epochs: of each
    training; None chooses them from the number of images.
    """
    from cleanlab.filter import find_label_issues

    counts = np.bincount(labels, minlength=len(classes))
    kept = np.flatnonzero(counts >= 2 * FOLDS)
    if len(kept) < 2:
        return []
    rows = np.flatnonzero(np.isin(labels, kept))
    renumbered = np.searchsorted(kept, labels[rows]).astype(np.int64)
    names = tuple(classes[label] for label in kept)
    raw = out_of_fold(thumbnails[rows], renumbered, names, epochs=epochs, seed=seed)
    probabilities = calibrated(raw, renumbered, seed=seed)
    candidates = find_label_issues(renumbered, probabilities, n_jobs=1)
    confidence = probabilities[np.arange(len(rows)), renumbered]
    chosen = np.flatnonzero(candidates & (confidence < ruled_out(probabilities, renumbered)))
    best = probabilities.argmax(1)
    return [
        LabelError(
            row=int(rows[at]),
            given=int(kept[renumbered[at]]),
            predicted=int(kept[best[at]]),
            confidence=float(confidence[at]),
            predicted_confidence=float(probabilities[at, best[at]]),
        )
        for at in chosen[np.argsort(confidence[chosen], kind="stable")]
    ]


def out_of_fold(
    pixels: Pixels,
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    epochs: int | None = None,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Class probabilities (n, K) of each image by a ConvNet that was trained on the folds without it."""
    import torch
    from sklearn.model_selection import StratifiedKFold

    from truefit.data.imageset import ImageSet
    from truefit.recipes.recipe import AugmentConfig, LossConfig, OptimizerConfig, Recipe
    from truefit.trainer import Trainer

    whole = ImageSet(split="train", classes=classes, labels=labels, pixels=np.ascontiguousarray(pixels))
    out = np.zeros((len(labels), len(classes)))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    # Few images make few steps; all get at least about a thousand.
    epochs = epochs or max(EPOCHS, min(30, -(-1000 * BATCH // len(labels))))
    # Most of each image at its full size: certainty is what is asked for here.
    recipe = Recipe(
        name="audit",
        epochs=epochs,
        batch_size=BATCH,
        optimizer=OptimizerConfig(name="muon", lr=0.05, momentum=0.9, weight_decay=0.01),
        loss=LossConfig(label_smoothing=0.1),
        augment=AugmentConfig(crop=0.875, shift=0.0),
        averaging="flip",
    )
    for number, (train, held) in enumerate(folds.split(np.zeros(len(labels)), labels)):
        trainer = Trainer("convnet", recipe, seed=seed + number)
        trainer.fit(whole.subset(train))
        assert trainer.predictor is not None
        for at in range(0, len(held), 1000):
            part = held[at : at + 1000]
            images = torch.from_numpy(np.ascontiguousarray(pixels[part].transpose(0, 3, 1, 2)))
            out[part] = trainer.predictor.logits(images).double().softmax(1).numpy()
    return out


def calibrated(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], *, seed: int = 0
) -> npt.NDArray[np.float64]:
    """The same probabilities (n, K) as they deserve to be believed: for each image by a logistic regression of the
    given labels (n,) on the log-probabilities of the other images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(CALIBRATION_FOLDS, shuffle=True, random_state=seed)
    logs = np.log(np.maximum(probabilities, 1e-12))
    found: npt.NDArray[np.float64] = cross_val_predict(
        LogisticRegression(max_iter=1000), logs, labels, cv=folds, method="predict_proba"
    )
    return found


def ruled_out(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """The probability of the given class below which it counts as ruled out, for calibrated probabilities (n, K).

    Where a share of all labels is wrong at random, an equal part of it is left to every other class, however sure the
    prediction. That share is what the surest images are contradicted by.
    """
    n, classes = probabilities.shape
    surest = np.argsort(-probabilities.max(1), kind="stable")[: max(1, int(SUREST * n))]
    wrong = float((probabilities.argmax(1) != labels)[surest].mean())
    return float(RULED_OUT / classes + wrong / (classes - 1))
