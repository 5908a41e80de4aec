"""A network that gives every image of the validation split the same class."""

from __future__ import annotations

import numpy as np

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.rule import Rule
from truefit.events import Event, Measured, StepFinished
from truefit.monitors.subject import Remembering, Subject

RULE = Rule(
    "FIT905",
    "one-class-predicted",
    "training",
    Severity.WARN,
    "Different images get different classes.",
)
IN_A_ROW, LEAST, STEPS = 2, 20, 100
SHARE, LARGEST = 0.995, 0.9


class Monitor(Remembering):
    """How often the most frequent class was predicted, in each evaluation on validation."""

    STATE = ("shares", "samples", "steps")

    def __init__(self, subject: Subject) -> None:
        self.shares: list[tuple[float, float]] = []
        self.samples = self.steps = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.steps += 1
        elif isinstance(event, Measured) and event.split != "train" and self.steps >= STEPS:
            self.samples = len(event.label)
            self.shares.append((_largest(event.predicted), _largest(event.label)))

    def finding(self) -> Finding:
        """Warns where the last two evaluations saw one class only, and no class is that frequent."""
        if not self.shares:
            return RULE.not_run(f"nothing was validated after {STEPS} steps")
        if len(self.shares) < IN_A_ROW or self.samples < LEAST:
            return RULE.not_run(f"fewer than {IN_A_ROW} evaluations of {LEAST} samples")
        predicted, true = self.shares[-1]
        numbers: dict[str, float | int | str] = {
            "predicted most often": f"{predicted:.1%}",
            "largest class": f"{true:.1%}",
            "samples": self.samples,
        }
        if all(chosen > SHARE and largest < LARGEST for chosen, largest in self.shares[-IN_A_ROW:]):
            return RULE.warn(
                "The network gives one class to all images of the validation split.",
                numbers=numbers | {"warned from": f"{SHARE:.1%}"},
                fix="a learning rate ten times smaller (--lr), or --loss.class-weights balanced",
            )
        return RULE.ok("Different images get different classes.", numbers=numbers)


def _largest(classes: np.ndarray) -> float:
    return float(np.unique(classes, return_counts=True)[1].max(initial=0) / max(len(classes), 1))
