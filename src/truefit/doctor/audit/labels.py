"""Which labels do networks contradict that were trained on the other images?

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 2021; cleanlab's implementation) on out-of-fold probabilities of truefit's own ConvNet and, where its weights are
installed, of a logistic regression on the features of a pretrained network; of its candidates those whose given class
is all but ruled out. Networks are far too sure of what they rule out, more so for some pairs of classes than for others
(a cat is taken for a dog, and seldom for a truck). So their log-probabilities, of both side by side, go through a
logistic regression on the given labels, out of fold as well (matrix scaling: Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017, sec. 4.2; of two opinions: Wolpert, "Stacked generalization", Neural Networks
1992): what is left below the limit is contradicted as far as experience goes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from truefit.data.images import Pixels
from truefit.data.imageset import ImageSet
from truefit.doctor.audit.features import pretrained_features

Probabilities = npt.NDArray[np.float64]

FOLDS, EPOCHS, BATCH = 3, 6, 64
CALIBRATION_FOLDS = 5
STRENGTH = 30.0
"""Inverse regularisation of the regression on features, which are centred and of a mean square length of 1."""

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
    pictures: ImageSet | None = None,
    epochs: int | None = None,
    seed: int = 0,
) -> list[LabelError]:
    """The likely errors, the worst first.

    thumbnails: uint8 (n, 32, 32, 3). labels: int64 (n,), classes of fewer than 2 x FOLDS are left out. pictures: the
    same n images for a pretrained network; None does without it. epochs: of each training; None chooses them from the
    number of images.
    """
    from cleanlab.filter import find_label_issues

    counts = np.bincount(labels, minlength=len(classes))
    kept = np.flatnonzero(counts >= 2 * FOLDS)
    if len(kept) < 2:
        return []
    rows = np.flatnonzero(np.isin(labels, kept))
    renumbered = np.searchsorted(kept, labels[rows]).astype(np.int64)
    names = tuple(classes[label] for label in kept)
    opinions = [out_of_fold(thumbnails[rows], renumbered, names, epochs=epochs, seed=seed)]
    if pictures is not None:
        opinions.append(probed(pretrained_features(pictures.subset(rows)), renumbered, seed=seed))
    probabilities = calibrated(opinions, renumbered, seed=seed)
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
) -> Probabilities:
    """Class probabilities (n, K) of each image by a ConvNet that was trained on the folds without it."""
    import torch
    from sklearn.model_selection import StratifiedKFold

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


def probed(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, seed: int = 0) -> Probabilities:
    """Class probabilities (n, K) of each image by a logistic regression on the features (n, d) of the other folds."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    out = np.zeros((len(labels), int(labels.max()) + 1))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for train, held in folds.split(features, labels):
        mean = features[train].mean(0)
        scale = float(np.sqrt(((features[train] - mean) ** 2).sum(1).mean())) or 1.0
        model = LogisticRegression(C=STRENGTH, max_iter=100, tol=1e-3)
        with warnings.catch_warnings():
            # What is left to gain after a hundred iterations moves no image over the limit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit((features[train] - mean) / scale, labels[train])
        out[held] = model.predict_proba((features[held] - mean) / scale)
    return out


def calibrated(opinions: Sequence[Probabilities], labels: npt.NDArray[np.int64], *, seed: int = 0) -> Probabilities:
    """One opinion or several, each probabilities (n, K), as they deserve to be believed together, (n, K): for each
    image by a logistic regression of the given labels (n,) on the log-probabilities of the other images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(CALIBRATION_FOLDS, shuffle=True, random_state=seed)
    logs = np.log(np.maximum(np.concatenate(opinions, axis=1), 1e-12))
    found: Probabilities = cross_val_predict(
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
