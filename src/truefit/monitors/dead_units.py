"""Layers most of whose units get no gradient from any sample: dead ReLUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.rule import Rule
from truefit.events import EpochFinished, Event, StepFinished
from truefit.monitors.subject import Remembering, Subject, is_looked_at

RULE = Rule(
    "FIT903",
    "dead-units",
    "training",
    Severity.WARN,
    "Most units of a layer are active for some of the samples.",
)
SHARE = 0.5
LEAST, EPOCHS = 20, 2


class Monitor(Remembering):
    """A unit that is zero for every sample gets a gradient of exactly zero: no activation need be looked at.

    Layers: Linear and convolutions. A unit counts as dead in an epoch where its weights had no gradient in any step
    looked at, and is reported after two epochs in a row.
    """

    STATE = ("alive", "looks", "dead")

    def __init__(self, subject: Subject) -> None:
        self.layers = {
            name: module
            for name, module in subject.network.named_modules()
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and module.weight.requires_grad
        }
        self.alive: dict[str, Tensor] = {}
        self.looks: list[int] = [0]
        # For each epoch, and each layer, which units were dead.
        self.dead: list[dict[str, Tensor]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished) and is_looked_at(event):
            self._look()
        elif isinstance(event, EpochFinished):
            found = [~alive.cpu() for alive in self.alive.values()]
            self.dead = [*self.dead[1 - EPOCHS :], dict(zip(self.alive, found, strict=True))]
            self.looks = [*self.looks[-EPOCHS:], 0]
            self.alive = {}

    def _look(self) -> None:
        live = {}
        for name, layer in self.layers.items():
            gradient = layer.weight.grad
            if gradient is not None:
                transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
                units = [n for n in range(gradient.ndim) if n != int(transposed)]
                live[name] = (gradient != 0).any(dim=units)
        if not live:
            return
        self.looks[-1] += 1
        # Where the last layer has no gradient either, the loss is exactly zero, and nothing can be told.
        told = next(reversed(live.values())).any()
        for name, alive in live.items():
            now = alive | ~told
            self.alive[name] = now | self.alive[name] if name in self.alive else now

    def finding(self) -> Finding:
        """Warns where most units of a layer were dead through two epochs."""
        if not self.layers:
            return RULE.not_applicable("no linear or convolutional layer is trainable")
        if len(self.dead) < EPOCHS or sum(self.looks[:-1][-EPOCHS:]) < LEAST:
            return RULE.not_run(f"fewer than {LEAST} steps of {EPOCHS} epochs were looked at")
        shares = {
            name: float(torch.stack([epoch[name] for epoch in self.dead]).all(dim=0).float().mean())
            for name in self.dead[-1]
            if all(name in epoch for epoch in self.dead)
        }
        worst = max(shares, key=lambda name: shares[name], default="")
        if worst and shares[worst] > SHARE:
            return RULE.warn(
                f"{shares[worst]:.0%} of the units of {worst} are dead: no sample gives them a gradient.",
                numbers={
                    "dead units": f"{shares[worst]:.0%}",
                    "at most": f"{SHARE:.0%}",
                    "layers concerned": sum(share > SHARE for share in shares.values()),
                    "steps looked at": sum(self.looks[:-1][-EPOCHS:]),
                },
                fix="a smaller learning rate, normalisation before the ReLU, or LeakyReLU",
            )
        return RULE.ok("Most units of every layer get a gradient.", numbers={"layers": len(shares)})
