"""`truefit train --doctor full`: the checks of `truefit.doctor.check` before the first step is taken."""

from __future__ import annotations

import sys
from typing import TextIO

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truefit import rng
from truefit.data.imageset import Data
from truefit.doctor.dry_run import check
from truefit.models.lookup import build_model


def passes(model: nn.Module | str, data: Data, seed: int, stream: TextIO | None) -> bool:
    """Try the model out on the data for a few steps, print what speaks (stream: None, only where a check fails, on
    stderr), and say whether no check failed. The model is given back as it was."""
    with rng.seeded(seed):
        network = build_model(model, len(data.classes)) if isinstance(model, str) else model
        loss = _several_labels if data.train.labels.ndim == 2 else F.cross_entropy
        checkup = check(network, loss, training_set=data.train, validation_set=data.validation)
    if not checkup.ok or (stream is not None and any(finding.speaks for finding in checkup.findings)):
        print(checkup, file=stream if stream is not None else sys.stderr)
    return checkup.ok


def _several_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets.to(torch.float32))
