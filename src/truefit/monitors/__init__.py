"""Monitors of truefit's own training: observers that cost next to nothing, and say when it goes wrong in silence.

To add one: a file here with `RULE` and a class `Monitor(Remembering)`, made from a subject, whose objects are called
with every event and have `finding()`; nothing else changes. Monitors follow the rules of observers: they never make a
device wait in a step (figures stay there until the epoch ends), change nothing, draw no random number, and look at
steps whose number decides alone, so that two equal trainings have equal findings.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any, Protocol

from truefit.doctor.finding import Finding as Finding
from truefit.doctor.finding import worst_first
from truefit.events import EpochFinished, Event, Note, Observer
from truefit.monitors.subject import Subject


class Monitor(Protocol):
    """One thing to look after."""

    def __init__(self, subject: Subject) -> None: ...

    def __call__(self, event: Event) -> None:
        """Take note of an event."""

    def finding(self) -> Finding:
        """What it has come to by now; asked after an epoch is complete."""

    def state_dict(self) -> dict[str, Any]:
        """What it has seen so far, for the checkpoint: plain values and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class Monitors:
    """All monitors as one observer. What speaks up is told once to `notify`, after the epoch that shows it."""

    def __init__(self, subject: Subject, notify: Observer) -> None:
        self.notify = notify
        self.monitors: dict[str, Monitor] = {name: monitor(subject) for name, monitor in all_monitors().items()}
        self._told: set[str] = set()

    def __call__(self, event: Event) -> None:
        for monitor in self.monitors.values():
            monitor(event)
        if isinstance(event, EpochFinished):
            for finding in self.findings():
                if finding.speaks and finding.code not in self._told:
                    self._told.add(finding.code)
                    self.notify(Note(text=line(finding, event.epoch + 1), warning=finding.outcome.value != "tip"))

    def findings(self) -> list[Finding]:
        """One a monitor, worst first."""
        return worst_first([monitor.finding() for monitor in self.monitors.values()])

    def to_json(self, tried: Sequence[Finding] = ()) -> dict[str, Any]:
        """The content of doctor.json. tried: what was found before the training, told among the others."""
        return {"findings": [finding.to_json() for finding in worst_first([*tried, *self.findings()])]}

    def state_dict(self) -> dict[str, Any]:
        """What all have seen so far, and what was told already."""
        return {"told": sorted(self._told), "of": {name: one.state_dict() for name, one in self.monitors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave: the findings at the end are those of a training without a break."""
        self._told = set(state["told"])
        for name, monitor in self.monitors.items():
            monitor.load_state_dict(state["of"][name])


def all_monitors() -> dict[str, type[Monitor]]:
    """The class of every file of this folder that has one, by file name."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module.Monitor for name, module in modules.items() if hasattr(module, "Monitor")}


def line(finding: Finding, epoch: int) -> str:
    """A finding in a line or two, for the log of a training."""
    figures = "; ".join(f"{name}: {value}" for name, value in finding.numbers.items())
    return (
        f"{finding.code} {finding.name} (epoch {epoch}): {finding.message} [{figures}] Fix: {finding.fix} "
        f"(truefit doctor explain {finding.code})"
    )
