"""Do two splits hold the same picture, pixel by pixel?"""

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import SINGLE, Material
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT501", "split-overlap", Severity.FAIL
HEALTHY = "no picture of validation or test is in another split"
FIX = "remove one of each pair, from train rather than from test; --fix-list writes the list"


def look(material: Material) -> Seen:
    """Compare digests of the decoded pixels across splits."""
    if len(material.splits) < 2:
        reason = "one folder of classes" if material.splits[0] == SINGLE else "only one split"
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no copies across splits", reason=reason)
    suspects = []
    held_out = set()
    for rows in material.copies:
        if len({int(material.split[row]) for row in rows}) < 2:
            continue
        # The split that is named first (train) gives way.
        ordered = sorted(map(int, rows), key=lambda row: (-material.split[row], row))
        held_out.add(ordered[0])
        differ = len({int(material.labels[row]) for row in rows}) > 1
        note = "under different classes" if differ else ""
        suspects += [
            Suspect(rows=(ordered[0], row), what="copy across splits", note=note, action="remove")
            for row in ordered[1:]
            if material.split[row] != material.split[ordered[0]]
        ]
    differing = sum(bool(suspect.note) for suspect in suspects)
    numbers = {"pairs": len(suspects), "pictures": len(held_out), "under different classes": differing, "at most": 0}
    if not suspects:
        return Seen(outcome=Outcome.OK, message="no picture is in two splits", numbers=numbers)
    return Seen(
        outcome=Outcome.FAIL,
        message=f"{len(held_out)} pictures of one split are in another as well, pixel by pixel",
        numbers=numbers,
        suspects=tuple(suspects),
    )
