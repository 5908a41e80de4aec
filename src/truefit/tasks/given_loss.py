"""A loss function that the caller brings: used exactly as given, and watched for one common mistake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truefit.data.batch import Batch
from truefit.errors import InputError, warn
from truefit.tasks.single_label import check_labels, check_outputs, hits

LossFunction = Callable[[Tensor, Tensor], Tensor]


class GivenLoss:
    """The caller's `loss_function(outputs, targets)`; counts hits where asked (then targets are class indices)."""

    def __init__(self, loss_function: LossFunction, *, count_hits: bool = False, warn: bool = False) -> None:
        self.loss_function, self.count_hits = loss_function, count_hits
        self.ignored = getattr(loss_function, "ignore_index", -100)
        self._unwatched = not (warn and _is_cross_entropy(loss_function))

    def check(self, outputs: Tensor, batch: Batch) -> None:
        classes = isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 1
        if classes and (batch.labels is not None or self.count_hits):
            check_labels(batch, outputs.shape[1], self.ignored)
        elif self.count_hits:
            check_outputs(outputs, len(batch))
        if not self._unwatched:
            self._unwatched = True
            _warn_of_softmax(outputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = self.loss_function(outputs, targets)
        if loss.ndim != 0:
            raise InputError(
                "the loss function must return one number",
                found=f"a tensor of shape {tuple(loss.shape)}",
                wanted="a 0-d tensor",
                fix="use reduction='mean'",
            )
        return loss

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        return hits(outputs, targets) if self.count_hits else None


class HitsOnly:
    """No loss at all: for `accuracy`."""

    def check(self, outputs: Tensor, batch: Batch) -> None:
        check_outputs(outputs, len(batch))
        check_labels(batch, outputs.shape[1])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros((), device=outputs.device)

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return hits(outputs, targets)


def _is_cross_entropy(loss_function: LossFunction) -> bool:
    return isinstance(loss_function, nn.CrossEntropyLoss) or loss_function is F.cross_entropy


def are_probabilities(outputs: Tensor) -> Tensor:
    """For each row of outputs (N, K) whether it is non-negative and sums to 1 within 1e-4: (N,) bool."""
    rows = outputs.detach()
    return (rows >= 0).all(dim=1) & ((rows.sum(dim=1) - 1).abs() <= 1e-4)


def looks_like_probabilities(outputs: Tensor) -> bool:
    """Whether all rows are. Reads from the device."""
    return bool(are_probabilities(outputs).all())


def _warn_of_softmax(outputs: Tensor) -> None:
    if isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 1 and looks_like_probabilities(outputs):
        warn(
            "FIT101: the network seems to end in softmax, and CrossEntropyLoss applies it once more: the loss can't "
            "fall below ln(1 + (K - 1)/e) for K classes, and learning is slow. Remove the softmax layer; the "
            "probabilities come from predict(). Training goes on exactly as asked."
        )
