"""`truefit train --doctor full`: the checks of `truefit.doctor.check` before the first step is taken."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truefit import rng
from truefit.commands.repeated import beyond_one_training
from truefit.data.imageset import Data
from truefit.doctor.dry_run import Checkup, check
from truefit.errors import InputError
from truefit.models.lookup import build_model

if TYPE_CHECKING:
    from truefit.commands.train import TrainCommand


def check_single(command: TrainCommand) -> None:
    """InputError where a command with `--doctor full` asks for more, or less, than one training."""
    for option in beyond_one_training(command):
        raise InputError(
            "--doctor full tries out a single training",
            found=option,
            wanted="one or the other",
            fix=f"truefit train ... --doctor full, and when no check fails the command with {option}",
        )


def try_out(model: nn.Module | str, data: Data, seed: int, stream: TextIO | None) -> Checkup:
    """Try the model out on the data for a few steps, print what speaks (stream: None, only where a check fails, on
    stderr), and give what was found. The model is given back as it was."""
    with rng.seeded(seed):
        network = build_model(model, len(data.classes)) if isinstance(model, str) else model
        loss = _several_labels if data.train.labels.ndim == 2 else F.cross_entropy
        checkup = check(network, loss, training_set=data.train, validation_set=data.validation)
    if not checkup.ok or (stream is not None and any(finding.speaks for finding in checkup.findings)):
        print(checkup, file=stream if stream is not None else sys.stderr)
    return checkup


def _several_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets.to(torch.float32))
