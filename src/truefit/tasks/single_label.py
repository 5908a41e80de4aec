"""One class for each image: cross-entropy and the largest logit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from truefit.data.batch import Batch
from truefit.errors import InputError
from truefit.tasks.focal import focal_cross_entropy


class SingleLabel:
    """Cross-entropy on logits (N, K), with label smoothing (0..1) and a weight for each class.

    `classes`: K, or None to take it from the first outputs. focal: the gamma of the focal loss, 0 for cross-entropy.
    Targets may be soft, (N, K); the mean is then over samples, also with weights. count_hits: False where they are, as
    no class is the right one.
    """

    def __init__(
        self,
        classes: int | None = None,
        *,
        label_smoothing: float = 0.0,
        class_weights: tuple[float, ...] | None = None,
        focal: float = 0.0,
        count_hits: bool = True,
    ) -> None:
        self.focal, self.count_hits = focal, count_hits
        self.classes, self.label_smoothing = classes, label_smoothing
        self.weights = None if class_weights is None else torch.tensor(class_weights)

    def check(self, outputs: Tensor, batch: Batch) -> None:
        check_outputs(outputs, len(batch))
        if self.classes is None:
            self.classes = outputs.shape[1]
        if outputs.shape[1] != self.classes:
            raise InputError(
                "the network's outputs do not match the classes",
                found=f"{outputs.shape[1]} outputs",
                wanted=f"{self.classes}, one for each class",
            )
        if self.weights is not None and len(self.weights) != self.classes:
            raise InputError(
                "class weights do not match the classes", found=f"{len(self.weights)} weights", wanted=self.classes
            )
        check_labels(batch, self.classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.weights is not None:
            self.weights = self.weights.to(outputs.device)
        more = {"weight": self.weights, "label_smoothing": self.label_smoothing}
        if self.focal:
            return focal_cross_entropy(outputs, targets, self.focal, **more)  # type: ignore[arg-type]
        if targets.is_floating_point():
            outputs = outputs.to(targets.dtype)
        return F.cross_entropy(outputs, targets, **more)  # type: ignore[arg-type]

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        return hits(outputs, targets) if self.count_hits else None


def hits(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many samples have their largest output at the target; a row with NaN is never a hit."""
    right = (outputs.argmax(dim=1) == targets) & ~outputs.isnan().any(dim=1)
    return right.sum()


def check_outputs(outputs: Tensor, samples: int) -> None:
    """Raise InputError unless outputs are (N, K)."""
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != samples:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            "the network's output has the wrong shape", found=found, wanted=f"({samples}, number of classes)"
        )


def check_labels(batch: Batch, classes: int, ignored: int | None = None) -> None:
    """Raise InputError where a label is not a class index from 0 to classes - 1, nor the one that is ignored."""
    if batch.labels is None:
        raise InputError(
            "labels must be class indices",
            found=f"targets of dtype {batch.targets.dtype} and shape {tuple(batch.targets.shape)}",
            wanted="one integer for each image",
        )
    labels = batch.labels if ignored is None else [label for label in batch.labels if label != ignored]
    if not labels:
        return
    low, high = labels[0], labels[-1]
    if low < 0 or high >= classes:
        raise InputError(
            f"label {low if low < 0 else high} is outside the model's classes",
            found=f"labels from {low} to {high}",
            wanted=f"0 to {classes - 1}",
            fix="count classes from 0, or give the network an output for each class",
        )
