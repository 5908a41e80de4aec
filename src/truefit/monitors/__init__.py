"""Monitors of truefit's own training: observers that cost next to nothing, and say when it goes wrong in silence.

To add one: a file here with `RULE` and a class `Monitor(subject)`, whose objects are called with every event and have
`finding()`; nothing else changes. Monitors follow the rules of observers: they never make a device wait in a step
(figures stay there until the epoch ends), change nothing, draw no random number, and look at steps whose number
decides alone, so that two equal trainings have equal findings.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol

from truefit.doctor.finding import Finding, worst_first
from truefit.events import EpochFinished, Event, Note, Observer
from truefit.monitors.subject import Subject


class Monitor(Protocol):
    """One thing to look after."""

    def __init__(self, subject: Subject) -> None: ...

    def __call__(self, event: Event) -> None:
        """Take note of an event."""

    def finding(self) -> Finding:
        """What it has come to by now; asked after an epoch is complete."""


class Monitors:
    """All monitors as one observer. What speaks up is told once to `notify`, after the epoch that shows it."""

    def __init__(self, subject: Subject, notify: Observer) -> None:
        self.notify = notify
        self.monitors = [monitor(subject) for monitor in all_monitors()]
        self._told: set[str] = set()

    def __call__(self, event: Event) -> None:
        for monitor in self.monitors:
            monitor(event)
        if isinstance(event, EpochFinished):
            for finding in self.findings():
                if finding.speaks and finding.code not in self._told:
                    self._told.add(finding.code)
                    self.notify(Note(text=line(finding, event.epoch + 1), warning=finding.outcome.value != "tip"))

    def findings(self) -> list[Finding]:
        """One a monitor, worst first."""
        return worst_first([monitor.finding() for monitor in self.monitors])

    def to_json(self) -> dict[str, Any]:
        """The content of doctor.json."""
        return {"findings": [finding.to_json() for finding in self.findings()]}


def all_monitors() -> list[type[Monitor]]:
    """The class of every file of this folder that has one, by file name."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return [module.Monitor for module in modules if hasattr(module, "Monitor")]


def line(finding: Finding, epoch: int) -> str:
    """A finding in a line or two, for the log of a training."""
    figures = "; ".join(f"{name}: {value}" for name, value in finding.numbers.items())
    return (
        f"{finding.code} {finding.name} (epoch {epoch}): {finding.message} [{figures}] Fix: {finding.fix} "
        f"(truefit doctor explain {finding.code})"
    )
