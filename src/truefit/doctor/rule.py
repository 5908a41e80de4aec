"""A check's identity, and how it says what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from truefit.doctor.finding import Finding, Outcome, Severity, Where


@dataclass(frozen=True, slots=True)
class Rule:
    """Code, name, family (loss, model, loop, numerics, data, evaluation, distributed, checkpoint), the most it can
    say, and in a sentence what a healthy program does. follows_from: codes, or what they begin with, of mistakes that
    bring this one about; where one of them was found, this check leaves the word to it."""

    code: str
    name: str
    family: str
    severity: Severity
    healthy: str
    follows_from: tuple[str, ...] = ()

    def fail(self, message: str, **details: Any) -> Finding:
        """Proven. details: where, numbers, fix."""
        return self._say(Outcome.FAIL, message, details)

    def warn(self, message: str, **details: Any) -> Finding:
        """Likely, or outside a band."""
        return self._say(Outcome.WARN, message, details)

    def tip(self, message: str, **details: Any) -> Finding:
        """Good to know, no fault."""
        return self._say(Outcome.TIP, message, details)

    def ok(self, message: str, **details: Any) -> Finding:
        """Looked at, and in order."""
        return self._say(Outcome.OK, message, details)

    def not_applicable(self, reason: str) -> Finding:
        """The program has nothing that this check speaks of."""
        return self._say(Outcome.NOT_APPLICABLE, "", {"reason": reason})

    def not_run(self, reason: str) -> Finding:
        """It applies, but what was observed does not decide it."""
        return self._say(Outcome.NOT_RUN, "", {"reason": reason})

    def _say(self, outcome: Outcome, message: str, details: dict[str, Any]) -> Finding:
        return Finding(
            code=self.code,
            name=self.name,
            severity=self.severity,
            outcome=outcome,
            message=message,
            healthy=self.healthy,
            where=details.pop("where", None) or Where(),
            **details,
        )
