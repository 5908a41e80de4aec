"""A regression loss between (N,) and (N, 1): every prediction is compared with every target."""

import math

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Loss
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT103",
    "loss-shape-broadcast",
    "loss",
    Severity.FAIL,
    "Predictions and targets have the same shape.",
)
NAMES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def check(log: Log) -> Finding:
    calls = [loss for loss in log.all(Loss) if loss.name in NAMES]
    if not calls:
        return RULE.not_applicable("no loss that broadcasts was called")
    wrong = [loss for loss in calls if _grows(loss)]
    if wrong:
        first = wrong[0]
        return RULE.fail(
            "The loss compares every prediction with every target, as their shapes differ and are broadcast.",
            where=first.where,
            numbers={
                "predictions": str(first.shape),
                "targets": str(first.target_shape),
                "pairs compared": math.prod(_broadcast(first)),
                "wanted": max(math.prod(first.shape), math.prod(first.target_shape)),
            },
            fix="loss = loss_function(outputs.squeeze(1), targets)  # both of shape (N,)",
        )
    return RULE.ok("Predictions and targets have shapes that match.", numbers={"calls": len(calls)})


def _broadcast(loss: Loss) -> list[int]:
    width = max(len(loss.shape), len(loss.target_shape))
    pad = [[1] * (width - len(shape)) + list(shape) for shape in (loss.shape, loss.target_shape)]
    return [max(pair) for pair in zip(*pad, strict=True)]


def _grows(loss: Loss) -> bool:
    return math.prod(_broadcast(loss)) > max(math.prod(loss.shape), math.prod(loss.target_shape))
