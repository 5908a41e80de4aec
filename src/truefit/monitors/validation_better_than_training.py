"""A validation accuracy that is better than the training accuracy, beyond chance."""

from __future__ import annotations

import math
from typing import Any

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.rule import Rule
from truefit.events import EpochFinished, Event
from truefit.monitors.subject import Remembering, Subject

RULE = Rule(
    "FIT906",
    "validation-better-than-training",
    "training",
    Severity.WARN,
    "Measured in the same way, a network is at least as good on what it has learnt from.",
)
ERRORS, POINTS = 3.0, 0.02
LOOKED_AT = ("training_accuracy", "validation_accuracy", "validation_n")


class Monitor(Remembering):
    """Compares the exact training accuracy (`--measure-training`) with that on validation: neither has augmentation.

    The accuracy in passing is no measure: it is that of weaker weights, on augmented images.
    """

    STATE = ("record",)

    def __init__(self, subject: Subject) -> None:
        self.record: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochFinished):
            self.record = {name: event.record.get(name) for name in LOOKED_AT}

    def finding(self) -> Finding:
        """Warns where validation leads by more than three standard errors and two points."""
        training, validation = self.record.get("training_accuracy"), self.record.get("validation_accuracy")
        if training is None or validation is None:
            return RULE.not_applicable("training accuracy is not measured (--measure-training), or nothing validated")
        error = math.sqrt(max(validation * (1 - validation), 1e-12) / self.record["validation_n"])
        numbers: dict[str, float | int] = {
            "validation accuracy": round(validation, 4),
            "training accuracy": round(training, 4),
            "standard error": round(error, 4),
        }
        if validation - training > max(ERRORS * error, POINTS):
            return RULE.warn(
                "The network is better on validation than on what it was trained on: the splits differ.",
                numbers=numbers | {"at most above training": round(max(ERRORS * error, POINTS), 4)},
                fix="draw validation at random from the same images as training; look for wrong training labels",
            )
        return RULE.ok("Validation is not better than training.", numbers=numbers)
