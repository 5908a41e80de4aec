"""Steps that are far too large or far too small for the weights they change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.rule import Rule
from truefit.events import EpochFinished, Event, StepFinished
from truefit.monitors.subject import Remembering, Sample, Subject, before_a_look, is_looked_at

RULE = Rule(
    "FIT902",
    "update-size",
    "training",
    Severity.WARN,
    "A step changes weights by about a thousandth of their size; a tenth and a millionth are far off.",
)
LARGEST, SMALLEST = 0.3, 1e-6
LEAST = 5


class Monitor(Remembering):
    """The norm of a step's change over the norm of the weights, for each tensor of two or more dimensions.

    The band is wide: TheDeepChecker (Ben Braiek and Khomh 2023, arXiv:2204.00694) warns outside of 1e-4 to 1e-1, where
    healthy trainings with orthogonalised momentum or at the end of a cosine schedule are, too.
    """

    STATE = ("before", "seen")

    def __init__(self, subject: Subject) -> None:
        self.sample = Sample(subject.network, least_dimensions=2)
        self.before: Tensor | None = None
        self.waiting: list[Tensor] = []
        # (steps looked at, tensors), on the CPU.
        self.seen = torch.zeros(0, len(self.sample))

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished) and len(self.sample):
            if self.before is not None and is_looked_at(event):
                change = self.sample.sums((self.sample.values() - self.before).square())
                size = self.sample.sums(self.before.square())
                self.waiting.append((change / size.clamp_min(1e-30)).sqrt())
            self.before = self.sample.values() if before_a_look(event) else None
        elif isinstance(event, EpochFinished) and self.waiting:
            self.seen = torch.cat([self.seen, torch.stack(self.waiting).cpu()])
            self.waiting.clear()

    def state_dict(self) -> dict[str, Any]:
        """Few tensors, as each costs a copy: what waits is one."""
        return {**super().state_dict(), "waiting": torch.stack(self.waiting) if self.waiting else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises KeyError where something is missing."""
        super().load_state_dict(state)
        self.waiting = [] if state["waiting"] is None else list(state["waiting"])

    def finding(self) -> Finding:
        """Warns where the median of a tensor's ratios lies outside of the band."""
        if not len(self.sample):
            return RULE.not_applicable("no weight of two or more dimensions is trainable")
        if len(self.seen) < LEAST:
            return RULE.not_run(f"fewer than {LEAST} steps were looked at")
        medians = np.median(self.seen.double().numpy(), axis=0)
        numbers: dict[str, float | int | str] = {"steps looked at": len(self.seen)}
        top = int(medians.argmax())
        if medians[top] > LARGEST:
            return RULE.warn(
                f"Half of the steps change {self.sample.names[top]} by more than {medians[top]:.0%} of its size: what "
                "was learnt is overwritten again and again.",
                numbers=numbers | {"change by weights (median)": f"{medians[top]:.2g}", "at most": LARGEST},
                fix="a learning rate ten times smaller (--lr), or a warm-up",
            )
        # A tensor that does not move at all is FIT901's.
        moving = np.where(medians > 0, medians, np.inf)
        low = int(moving.argmin())
        if moving[low] < SMALLEST and np.median(moving[np.isfinite(moving)]) < SMALLEST:
            return RULE.warn(
                f"The steps hardly change the weights: {self.sample.names[low]} by {moving[low]:.1g} of its size.",
                numbers=numbers | {"change by weights (median)": f"{moving[low]:.2g}", "at least": SMALLEST},
                fix="a learning rate ten times larger (--lr); is the warm-up longer than the training?",
            )
        typical = float(np.median(medians))
        return RULE.ok(
            "Steps are neither too large nor too small.", numbers=numbers | {"change by weights": f"{typical:.2g}"}
        )
