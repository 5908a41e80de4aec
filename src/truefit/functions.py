"""The three functions: train, validate, accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from truefit import loop
from truefit.config import require
from truefit.data.batch import Batches
from truefit.data.batches import make_batches
from truefit.errors import warn
from truefit.models.traits import has_batchnorm, wants_channels_last
from truefit.optim.step import Scheduler
from truefit.precision import device_of
from truefit.tasks.given_loss import GivenLoss, HitsOnly, LossFunction


def train(
    network: nn.Module,
    training_set: Dataset[Any],
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    loss_function: LossFunction,
    *,
    scheduler: Scheduler | None = None,
    workers: int = 0,
) -> list[float]:
    """Train the network for one epoch and return the loss of each batch.

    The network is in train mode for the duration, and every module gets back the mode it came with. Samples are
    shuffled: one draw from torch's global generator decides the order, so that two calls differ and
    `torch.manual_seed` makes both repeatable. Everything happens on the device of the network's parameters.

    Args:
        network: gives outputs for images (N, C, H, W); for cross-entropy these are logits (N, K).
        training_set: map-style data set of (image tensor, label), or an iterable one, which is not shuffled.
        batch_size: samples in a step, at least 1. The last batch may be short. Where it would hold one sample
            and the network has BatchNorm, the last two batches share their samples.
        optimizer: of this network's parameters.
        loss_function: of (outputs, targets), the mean over the batch as a 0-d tensor.
        scheduler: stepped after each batch.
        workers: processes that fetch samples.

    Returns:
        ceil(n / batch_size) floats, in the order of the steps.

    Raises:
        InputError: empty data set, labels outside the outputs, an optimizer of something else, batch size 0.
        NonFiniteError: loss or gradient became NaN or infinite; the weights are those from before that step.
    """
    batches = training_batches(network, training_set, batch_size, workers=workers)
    task = GivenLoss(loss_function, warn=True)
    return loop.train_epoch(network, batches, task, optimizer, scheduler=scheduler).losses


def validate(
    network: nn.Module,
    validation_set: Dataset[Any],
    batch_size: int,
    loss_function: LossFunction,
    *,
    workers: int = 0,
) -> list[float]:
    """Return the loss of each batch, in the data set's order, in eval mode and without gradients.

    Arguments as in `train`. No generator is left changed. Raises InputError as `train` does.
    """
    batches = evaluation_batches(network, validation_set, batch_size, "validation set", workers=workers)
    return loop.evaluate(network, batches, GivenLoss(loss_function)).losses


def accuracy(network: nn.Module, dataset: Dataset[Any], *, batch_size: int = 256, workers: int = 0) -> float:
    """Return the fraction of samples whose largest output is at the label, 0..1, rounded to 3 places.

    Hits and samples are counted, then divided once; eval mode, no gradients. Labels are class indices. A row of
    outputs with NaN is not a hit. Raises InputError for an empty data set or labels outside the outputs.
    """
    batches = evaluation_batches(network, dataset, batch_size, "data set", workers=workers)
    return round(loop.evaluate(network, batches, HitsOnly()).accuracy, 3)


def training_batches(network: nn.Module, dataset: Dataset[Any], batch_size: int, *, workers: int = 0) -> Batches:
    """Shuffled batches; the order is decided by one draw from torch's global generator."""
    _check(batch_size)
    batches = make_batches(
        dataset,
        batch_size=int(batch_size),
        device=device_of(network),
        role="training set",
        seed=int(torch.randint(2**62, ())),
        share_last=has_batchnorm(network),
        workers=workers,
        channels_last=wants_channels_last(network),
    )
    if batches.samples is None:
        warn("an iterable data set is not shuffled: its own order is used")
    return batches


def evaluation_batches(
    network: nn.Module, dataset: Dataset[Any], batch_size: int, role: str, *, workers: int = 0
) -> Batches:
    """Batches in the data set's order."""
    _check(batch_size)
    return make_batches(
        dataset,
        batch_size=int(batch_size),
        device=device_of(network),
        role=role,
        workers=workers,
        channels_last=wants_channels_last(network),
    )


def _check(batch_size: object) -> None:
    usable = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool) and batch_size >= 1
    require(bool(usable), "batch_size", batch_size, "a whole number, at least 1")
