"""The class: train, validate and accuracy joined over epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from truefit import loop, rng
from truefit.config import require
from truefit.errors import InputError
from truefit.events import EpochFinished, Event, FitStarted, Observer
from truefit.functions import evaluation_batches, training_batches
from truefit.optim.step import Scheduler
from truefit.precision import describe, device_of, find_device
from truefit.progress import Bar, Lines
from truefit.tasks.given_loss import GivenLoss, HitsOnly, LossFunction, are_probabilities

Log = dict[str, list[float]]


class ConvolutionalNeuralNet:
    """A network with its optimiser, trained over epochs.

    network: gives logits (N, K). optimizer: Adam at 1e-3 unless given. device: None takes the best there is; the
    network is moved there. initialise: once, here, Xavier-uniform weights and bias 0.01 for every Conv2d and
    Linear; a second `train` goes on from the weights learnt. progress: print and draw while training.

    Attributes: `network`, `optimizer`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        device: str | torch.device | None = None,
        initialise: bool = True,
        progress: bool = True,
    ) -> None:
        self.network = network
        if initialise:
            _initialise(network)
        network.to(find_device(None if device is None else str(device)))
        self.optimizer = optimizer if optimizer is not None else torch.optim.Adam(network.parameters(), lr=1e-3)
        self._observers: list[Observer] = [Lines(), Bar()] if progress else []

    def train(
        self,
        loss_function: LossFunction,
        epochs: int,
        batch_size: int,
        training_set: Dataset[Any],
        validation_set: Dataset[Any],
        *,
        schedule: Scheduler | None = None,
    ) -> Log:
        """Train and return the log.

        loss_function: of (outputs, targets), the mean over the batch. epochs, batch_size: at least 1.
        training_set, validation_set: as for `truefit.train`. schedule: stepped after each batch.

        Returns a dict: training_loss_per_batch, validation_loss_per_batch (epochs x ceil(n / batch_size) floats),
        training_accuracy_per_epoch, validation_accuracy_per_epoch (0..1, rounded to 3 places). Training accuracy is
        measured after the epoch, in eval mode. Raises what `truefit.train` raises.
        """
        whole = isinstance(epochs, int | np.integer) and not isinstance(epochs, bool)
        require(whole and epochs >= 1, "epochs", epochs, "a whole number, at least 1")
        epochs = int(epochs)
        network = self.network
        if isinstance(loss_function, nn.Module):
            loss_function.to(device_of(network))
        training = training_batches(network, training_set, batch_size)
        again = evaluation_batches(network, training_set, batch_size, "training set")
        validation = evaluation_batches(network, validation_set, batch_size, "validation set")
        task = GivenLoss(loss_function, warn=True)
        measuring = GivenLoss(loss_function, count_hits=True)
        log: Log = {
            "training_loss_per_batch": [],
            "validation_loss_per_batch": [],
            "training_accuracy_per_epoch": [],
            "validation_accuracy_per_epoch": [],
        }
        self._notify(
            FitStarted(
                epochs=epochs,
                device=describe(device_of(network)),
                training_samples=training.samples,
                validation_samples=validation.samples,
            )
        )
        for epoch in range(epochs):
            trained = loop.train_epoch(
                network, training, task, self.optimizer, epoch=epoch, scheduler=schedule, observe=self._notify
            )
            exact = loop.evaluate(
                network, again, HitsOnly(), split="training accuracy", epoch=epoch, observe=self._notify
            )
            validated = loop.evaluate(network, validation, measuring, epoch=epoch, observe=self._notify)
            log["training_loss_per_batch"] += trained.losses
            log["validation_loss_per_batch"] += validated.losses
            log["training_accuracy_per_epoch"].append(round(exact.accuracy, 3))
            log["validation_accuracy_per_epoch"].append(round(validated.accuracy, 3))
            record = {
                "training_loss": trained.loss,
                "training_accuracy": exact.accuracy,
                "validation_loss": validated.loss,
                "validation_accuracy": validated.accuracy,
            }
            self._notify(EpochFinished(epoch=epoch, epochs=epochs, record=record))
        return log

    def predict(self, x: Tensor | np.ndarray) -> Tensor:
        """Class probabilities (N, K), float32, on the network's device; eval mode, no gradients.

        x: floats as the training set gives them: (3, H, W), (N, 3, H, W), or flat (N, 3072). A single image gives
        one row. Rows that are already non-negative and sum to 1 within 1e-4 are returned as they are, otherwise
        softmax is applied.
        """
        device = device_of(self.network)
        images = torch.as_tensor(x)
        if images.ndim == 3:
            images = images[None]
        if images.ndim not in (2, 4) or not len(images):
            raise InputError(
                "predict can't take an array of this shape",
                found=tuple(images.shape),
                wanted="(3, H, W), (N, 3, H, W) or (N, 3072)",
            )
        if not images.is_floating_point():
            raise InputError(
                "predict wants images as the training set gives them",
                found=str(images.dtype),
                wanted="floats",
                fix="apply the training set's transform (for uint8 pixels: x / 255)",
            )
        with loop.mode(self.network, training=False), rng.preserved(device), torch.no_grad():
            outputs: Tensor = self.network(images.to(device, self._dtype()))
        return torch.where(are_probabilities(outputs)[:, None], outputs, outputs.softmax(dim=1))

    def _dtype(self) -> torch.dtype:
        """The floating type that the network computes in."""
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.float32)

    def _notify(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)


def _initialise(network: nn.Module) -> None:
    """Xavier-uniform weights (Glorot and Bengio 2010, equation 16) and bias 0.01 for Conv2d and Linear."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.constant_(module.bias, 0.01)
