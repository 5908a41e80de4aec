"""Which files are empty, cut short, or no images?"""

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT507", "unreadable-or-odd-files", Severity.WARN
HEALTHY = "every file decodes to its end"
FIX = "replace or remove these files; --fix-list writes the list"


def look(material: Material) -> Seen:
    """List what could not be decoded, or has no end."""
    if material.paths is None:
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no files", reason="there are no files")
    reasons = material.facts.reasons
    numbers = {"files": len(material), "unreadable or cut short": len(reasons), "at most": 0}
    if not reasons:
        return Seen(outcome=Outcome.OK, message="every file decodes to its end", numbers=numbers)
    return Seen(
        outcome=Outcome.WARN,
        message=f"{len(reasons)} files cannot be read, or are cut short",
        numbers=numbers,
        suspects=tuple(
            Suspect(rows=(row,), what="unreadable", note=reason, action="remove")
            for row, reason in sorted(reasons.items())
        ),
    )
