"""Trainable weights that no step has moved."""

from __future__ import annotations

from torch import Tensor

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.rule import Rule
from truefit.events import EpochFinished, Event, StepFinished
from truefit.monitors.subject import VALUES, Remembering, Sample, Subject

RULE = Rule(
    "FIT901",
    "weights-stand-still",
    "training",
    Severity.WARN,
    "Every trainable tensor has moved after a few steps.",
)
LEAST = 20


class Monitor(Remembering):
    """Compares a few values of each tensor with those at the start, once an epoch."""

    STATE = ("begin", "steps", "still", "learning")

    def __init__(self, subject: Subject) -> None:
        self.sample = Sample(subject.network)
        self.begin = self.sample.values() if len(self.sample) else None
        self.steps, self.still = 0, list(self.sample.names)
        # Of these the ones that were trainable: where a network is thawed stage by stage others stand still by design.
        self.parameters, self.learning = dict(subject.network.named_parameters()), list[str]()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.steps += 1
        elif isinstance(event, EpochFinished) and self.begin is not None and self.still:
            moved: Tensor = self.sample.sums((self.sample.values() != self.begin).float())
            self.still = [name for name, count in zip(self.sample.names, moved.tolist(), strict=True) if count == 0]
            self.learning = [n for n in self.still if n in self.learning or self.parameters[n].requires_grad]

    def finding(self) -> Finding:
        """Warns where a tensor has the values it began with."""
        if self.begin is None:
            return RULE.not_applicable("no tensor is trainable")
        if self.steps < LEAST:
            return RULE.not_run(f"fewer than {LEAST} steps were taken")
        still = self.learning
        if still:
            return RULE.warn(
                f"{still[0]}{f' and {len(still) - 1} more tensors' if len(still) > 1 else ''} are "
                "trainable, and stand where they began: no step has moved them.",
                numbers={
                    "tensors that stand still": len(still),
                    "of": len(self.sample),
                    "steps": self.steps,
                    "values compared of each, at most": VALUES,
                },
                fix="use these layers in forward, take a larger learning rate, or requires_grad_(False)",
            )
        return RULE.ok("Every trainable tensor has moved.", numbers={"tensors": len(self.sample)})
