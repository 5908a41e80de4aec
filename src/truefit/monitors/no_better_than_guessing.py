"""A training whose loss stays where guessing would leave it."""

from __future__ import annotations

import math

import numpy as np

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.rule import Rule
from truefit.events import EpochFinished, Event, StepFinished
from truefit.monitors.subject import Remembering, Subject

RULE = Rule(
    "FIT904",
    "no-better-than-guessing",
    "training",
    Severity.WARN,
    "The loss falls below that of guessing by the classes' frequencies, ln K for K equal classes, in the first epochs.",
)
NEAR = 0.99
EPOCHS, LEAST = 2, 100


class Monitor(Remembering):
    """Compares each epoch's training loss with that of guessing by the classes' frequencies: their entropy, where the
    loss is not focal.
    """

    STATE = ("losses", "steps")

    def __init__(self, subject: Subject) -> None:
        self.guessing: float | None = None
        if subject.counts is not None and (total := float(subject.counts.sum())):
            shares = subject.counts[subject.counts > 0] / total
            self.guessing = float(-(shares * (1 - shares) ** subject.focal * np.log(shares)).sum())
        elif subject.classes:
            self.guessing = (1 - 1 / subject.classes) ** subject.focal * math.log(subject.classes)
        self.losses: list[float] = []
        self.steps = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.steps += 1
        elif isinstance(event, EpochFinished):
            self.losses.append(float(event.record["training_loss"]))

    def finding(self) -> Finding:
        """Warns where no epoch's loss is below it, or the last one's is above it again."""
        if not self.guessing:
            return RULE.not_applicable("the number of classes is not known, or there is one only")
        if len(self.losses) < EPOCHS or self.steps < LEAST:
            return RULE.not_run(f"fewer than {EPOCHS} epochs or {LEAST} steps were taken")
        best, last = min(self.losses), self.losses[-1]
        numbers: dict[str, float | int] = {
            "lowest training loss": round(best, 4),
            "last": round(last, 4),
            "guessing": round(self.guessing, 4),
            "epochs": len(self.losses),
        }
        if best > NEAR * self.guessing:
            return RULE.warn(
                f"After {len(self.losses)} epochs the training loss is where guessing leaves it: nothing is learnt.",
                numbers=numbers,
                fix="a learning rate ten times smaller (--lr); do labels and images belong together?",
            )
        if last > max(self.guessing, 2 * best):
            return RULE.warn(
                "The training loss has fallen and risen again above that of guessing: training diverges.",
                numbers=numbers,
                fix="a smaller learning rate (--lr), or clip the gradient's norm (--clip-norm 1)",
            )
        return RULE.ok("The training loss is below that of guessing.", numbers=numbers)
