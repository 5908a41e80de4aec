"""What a check says: its outcome, the figures behind it, where, and how to mend it. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

Number: TypeAlias = int | float | str | bool


class Severity(StrEnum):
    """How much a check can say at most. FAIL: almost surely a bug, proven; WARN: look at it; TIP: good to know."""

    FAIL = "fail"
    WARN = "warn"
    TIP = "tip"


class Outcome(StrEnum):
    """What a check came to. The last two carry a reason."""

    OK = "ok"
    FAIL = "fail"
    WARN = "warn"
    TIP = "tip"
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"


# What speaks up, worst first.
SPEAKING = (Outcome.FAIL, Outcome.WARN, Outcome.TIP)


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """The place a finding points at: a line of the user's code, a module's path, a loader, or a data file."""

    file: str | None = None
    line: int | None = None
    subject: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file or ""
        return " ".join(
            part for part in (place, f"({self.subject})" if self.subject and place else self.subject) if part
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: file, line and subject, None where not known."""
        return {"file": self.file, "line": self.line, "subject": self.subject}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One outcome of one check.

    code: "FIT101". name: "softmax-before-cross-entropy". severity: the most the check can say. outcome: what it came
    to. message: one sentence, what is wrong (or is in order). numbers: the figures that show it, with the threshold
    under a name such as "wanted" or "at most". healthy: what a healthy run looks like. fix: the smallest change, as
    code. reason: why the check is not applicable, was not run, or was silenced.
    """

    code: str
    name: str
    severity: Severity
    outcome: Outcome
    message: str
    where: Where = field(default_factory=Where)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    healthy: str = ""
    fix: str = ""
    reason: str = ""

    @property
    def speaks(self) -> bool:
        """Whether a person should see it without asking: fail, warn or tip."""
        return self.outcome in SPEAKING

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `truefit doctor ... --json` prints them."""
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity.value,
            "outcome": self.outcome.value,
            "message": self.message,
            "where": self.where.to_json(),
            "numbers": dict(self.numbers),
            "healthy": self.healthy,
            "fix": self.fix,
            "reason": self.reason,
        }


def exit_code(findings: Iterable[Finding], *, strict: bool = False) -> int:
    """3 where a finding failed (with `strict` also where one warned), else 0."""
    bad = {Outcome.FAIL, Outcome.WARN} if strict else {Outcome.FAIL}
    return 3 if any(finding.outcome in bad for finding in findings) else 0


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Failures, warnings, tips, then the rest; by code within each."""
    order = {outcome: rank for rank, outcome in enumerate(Outcome.__members__.values())}
    order[Outcome.OK] = len(order)
    return sorted(findings, key=lambda finding: (order[finding.outcome], finding.code))
