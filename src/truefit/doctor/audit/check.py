"""What does a check of the audit give, and which checks are there? One file of `checks/` for each.

To add a check, add one file there; it is found by looking through the package. It defines

    CODE, NAME, SEVERITY, HEALTHY, FIX
    look(material: Material) -> Seen
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Finding, Number, Outcome, Severity, Where


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """Images to be looked at together.

    rows: of the material. what: "copy across splits" and the like. note: why. action: what is proposed for the last
    of the rows: "remove", "relabel", "rotate" or "look". value: the class to relabel to, the degrees to rotate.
    """

    rows: tuple[int, ...]
    what: str
    note: str = ""
    action: str = "look"
    value: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a look came to: the fields of a finding that differ from case to case, and the images behind it."""

    outcome: Outcome
    message: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    suspects: tuple[Suspect, ...] = ()
    reason: str = ""
    fix: str = ""


class Check(Protocol):
    """A module of `checks/`."""

    CODE: str
    NAME: str
    SEVERITY: Severity
    HEALTHY: str
    FIX: str

    def look(self, material: Material) -> Seen:
        """Read the material; change nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A finding with the images behind it."""

    finding: Finding
    suspects: tuple[Suspect, ...]


def checks() -> Iterator[Check]:
    """All checks, by file name."""
    from truefit.doctor.audit import checks as package

    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
        yield cast(Check, importlib.import_module(f"{package.__name__}.{module.name}"))


def examine(material: Material) -> list[Result]:
    """Every check's result, by code."""
    results = []
    for check in checks():
        seen = check.look(material)
        finding = Finding(
            code=check.CODE,
            name=check.NAME,
            severity=check.SEVERITY,
            outcome=seen.outcome,
            message=seen.message,
            where=Where(file=material.spec),
            numbers=seen.numbers,
            healthy=check.HEALTHY,
            fix=(seen.fix or check.FIX) if seen.outcome in (Outcome.FAIL, Outcome.WARN, Outcome.TIP) else "",
            reason=seen.reason,
        )
        results.append(Result(finding=finding, suspects=seen.suspects))
    return sorted(results, key=lambda result: result.finding.code)
