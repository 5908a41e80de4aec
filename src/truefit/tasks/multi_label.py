"""Any number of labels for each image: binary cross-entropy, each label on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from truefit.data.batch import Batch
from truefit.errors import InputError
from truefit.tasks.focal import focal_binary_cross_entropy
from truefit.tasks.single_label import check_outputs

USUAL = 0.5
"""From which probability on a label is given, where nothing has chosen another."""


class MultiLabel:
    """Binary cross-entropy on logits (N, K) and targets (N, K) of 0 and 1, the mean over samples and labels.

    classes: K, or None to take it from the first outputs. label_smoothing (0..1): 1 becomes 1 - s/2, 0 becomes s/2.
    class_weights: a weight for each label. thresholds: from which probability on each label is given; a sample is hit
    where all its labels are right, none missing and none too many. focal: the gamma of the focal loss, 0 for
    cross-entropy. count_hits: False where targets are mixtures, between 0 and 1.
    """

    def __init__(
        self,
        classes: int | None = None,
        *,
        label_smoothing: float = 0.0,
        class_weights: tuple[float, ...] | None = None,
        thresholds: Sequence[float] | None = None,
        focal: float = 0.0,
        count_hits: bool = True,
    ) -> None:
        self.focal, self.count_hits = focal, count_hits
        self.classes, self.label_smoothing = classes, label_smoothing
        self.weights = None if class_weights is None else torch.tensor(class_weights)
        self.cuts = None if not thresholds else torch.tensor([_logit(value) for value in thresholds])

    def check(self, outputs: Tensor, batch: Batch) -> None:
        check_outputs(outputs, len(batch))
        if self.classes is None:
            self.classes = outputs.shape[1]
        if outputs.shape[1] != self.classes:
            raise InputError(
                "the network's outputs do not match the labels",
                found=f"{outputs.shape[1]} outputs",
                wanted=f"{self.classes}, one for each label",
            )
        if batch.targets.shape != outputs.shape:
            raise InputError(
                "targets do not match the labels",
                found=f"{batch.targets.dtype} {tuple(batch.targets.shape)}",
                wanted=f"0 and 1, {tuple(outputs.shape)}",
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.weights is not None:
            self.weights = self.weights.to(outputs.device)
        wanted = targets.to(outputs.dtype)
        if self.label_smoothing:
            wanted = wanted * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.focal:
            return focal_binary_cross_entropy(outputs, wanted, self.focal, weight=self.weights)
        return F.binary_cross_entropy_with_logits(outputs, wanted, weight=self.weights)

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        if not self.count_hits:
            return None
        if self.cuts is not None:
            self.cuts = self.cuts.to(outputs.device)
            outputs = outputs - self.cuts
        return ((outputs >= 0) == (targets >= USUAL)).all(dim=1).sum()


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability)) if 0 < probability < 1 else math.copysign(math.inf, probability)
