"""A linear probe: the head of a frozen network, fitted by logistic regression instead of steps.

The strength of its regularisation is chosen by cross-validation within the training set, by the cross-entropy of the
held-out samples. Source: Alain and Bengio (2016), "Understanding intermediate layers using linear classifier probes".
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from truefit import dist
from truefit.config import to_plain
from truefit.data.folds import assign
from truefit.data.imageset import ImageSet
from truefit.errors import InputError
from truefit.events import Note
from truefit.fitting.features import Features, frozen_features
from truefit.fitting.selection import in_ledger
from truefit.fitting.setup import Setup
from truefit.models.head import head_of
from truefit.runs.ledger import Ledger

Labels = npt.NDArray[np.int64]

BY = "train: cross-validation of the probe"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One strength: accuracy (0..1) and cross-entropy in nats of all held-out samples together, n of them."""

    strength: float
    accuracy: float
    loss: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Probe:
    """strength: the chosen one. folds: of the cross-validation. tried: all strengths. n: samples it was fitted to.
    features: their number. computed: how many images went through the network for it, not found on disk."""

    strength: float
    folds: int
    tried: tuple[Tried, ...]
    n: int
    features: int
    computed: int

    def __str__(self) -> str:
        chosen = next(one for one in self.tried if one.strength == self.strength)
        return (
            f"probe: {self.features:,} frozen features of {self.n:,} images ({self.n - self.computed:,} from the "
            f"cache), regularisation C = {self.strength:g} chosen by {self.folds}-fold cross-validation within train "
            f"({chosen.accuracy:.1%} of n = {chosen.n:,})"
        )


def fit_probe(setup: Setup, ledger: Ledger) -> Probe:
    """Fit the network's head to its frozen features. Raises InputError where network or data do not fit a probe."""
    images, classes = setup.training_set, setup.classes
    if dist.world() > 1:
        raise InputError(
            "a probe is fitted by one process", found=f"{dist.world()} processes", fix="start it without torchrun"
        )
    if not isinstance(images, ImageSet) or classes is None or images.labels.ndim != 1:
        raise InputError(
            "a probe needs images with one known label each",
            found=type(images).__name__,
            wanted="a folder, a known data set, or an ImageSet, with one class an image",
            fix="train without a probe: another --recipe",
        )
    name, head = head_of(setup.network, len(classes))
    features, computed = frozen_features(setup, images, name)
    config = setup.recipe.transfer
    smallest = int(images.counts().min())
    if smallest < 2:
        raise InputError(
            "cross-validation needs at least two training images of each class",
            found=f"{smallest} of {classes[int(images.counts().argmin())]}",
            fix="add images",
        )
    folds = min(config.folds, smallest)
    number = assign(images.labels, folds, split_seed=setup.plan.seed)
    tried = tuple(_held_out(features, images.labels, number, strength) for strength in config.strengths)
    ledger.look("train", by=BY, times=len(tried), chose=("regularisation of the probe",), **in_ledger(images))
    # Ties go to the weaker weights.
    best = min(tried, key=lambda one: (round(one.loss, 6), one.strength))
    weight, bias = _fitted(features, images.labels, best.strength)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(bias))
    _check(setup, features, name, weight, bias)
    if setup.average is not None:
        setup.average.network.load_state_dict(setup.network.state_dict())
    found = Probe(
        strength=best.strength,
        folds=folds,
        tried=tried,
        n=len(images),
        features=features.shape[1],
        computed=computed,
    )
    setup.plan.notify(Note(text=str(found)))
    return found


def describe(found: Probe) -> dict[str, Any]:
    """The probe as it stands in model.json: the same, whatever was found in the cache."""
    return {name: value for name, value in to_plain(found).items() if name != "computed"}


def _held_out(features: Features, labels: Labels, number: Labels, strength: float) -> Tried:
    """Each sample classified by a probe that was fitted without its fold."""
    loss, hits = 0.0, 0
    for fold in np.unique(number):
        held = number == fold
        weight, bias = _fitted(features[~held], labels[~held], strength)
        logits = features[held].astype(np.float64) @ weight.T.astype(np.float64) + bias
        logits -= logits.max(axis=1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss -= float(log_probabilities[np.arange(held.sum()), labels[held]].sum())
        hits += int((logits.argmax(axis=1) == labels[held]).sum())
    n = len(labels)
    return Tried(strength=strength, accuracy=hits / n, loss=loss / n, n=n)


def _fitted(features: Features, labels: Labels, strength: float) -> tuple[Features, Features]:
    """Weight (K, d) and bias (K,) float32 of the logistic regression, for the features as they are.

    It is fitted to centred features whose rows have a mean square length of 1, so that a strength means the same for
    every network.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    scale = float(np.sqrt((centred**2).sum(axis=1).mean())) or 1.0
    model = LogisticRegression(C=strength, max_iter=1000)
    with warnings.catch_warnings():
        # A thousand iterations from the optimum of nothing: what is left to gain is far below one image.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(centred / scale, labels)
    weight, bias = model.coef_ / scale, model.intercept_
    if len(weight) == 1:
        # Of two classes there is one row of log-odds; half of it for each is the same softmax.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    bias = bias - weight @ mean
    return weight.astype(np.float32), bias.astype(np.float32)


def _check(setup: Setup, features: Features, name: str, weight: Features, bias: Features) -> None:
    """Raise InputError where something stands between the head and the network's outputs, so that it is no probe."""
    from truefit.predictor import Predictor

    assert isinstance(setup.training_set, ImageSet)
    images = torch.stack([image for image, _ in setup.training_set.__getitems__([0, 1])])
    logits = Predictor(setup.network, setup.config, setup.settings).logits(images).numpy()
    expected = features[:2] @ weight.T + bias
    if not np.allclose(logits, expected, atol=1e-2 * max(1.0, float(np.abs(expected).max()))):
        raise InputError(
            "the network's outputs are not those of its last linear layer",
            where=name,
            found=f"outputs that differ by up to {float(np.abs(logits - expected).max()):.3g}",
            wanted="a network that ends in that layer",
            fix="train it without a probe: another --recipe",
        )
