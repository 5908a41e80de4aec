"""Which pictures are in one split more than once, and do their classes agree?"""

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import SINGLE, Material
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT507", "unreadable-or-odd-files", Severity.WARN
HEALTHY = "every picture is there once, under one class"
FIX = "keep one of each; where classes differ, find out which is right. --fix-list writes the list"


def look(material: Material) -> Seen:
    """List copies and near-duplicates within a split; those under different classes apart."""
    suspects = []
    for rows in material.copies:
        for number in range(len(material.splits)):
            inside = [int(row) for row in rows if material.split[row] == number]
            suspects += [_suspect(material, inside[0], row, "copy", "") for row in inside[1:]]
    suspects += [
        _suspect(material, pair.first, pair.second, "near-duplicate", f"{pair.score:.2f}")
        for pair in material.near
        if material.split[pair.first] == material.split[pair.second]
    ]
    exact = sum(suspect.what == "copy" for suspect in suspects)
    differing = sum("different" in suspect.note for suspect in suspects)
    numbers = {"copies": exact, "near-duplicates": len(suspects) - exact, "under different classes": differing}
    if not suspects:
        return Seen(outcome=Outcome.OK, message="no picture is in a split twice", numbers=numbers)
    drawn = material.splits[0] == SINGLE
    return Seen(
        outcome=Outcome.WARN if differing or drawn else Outcome.TIP,
        message=f"{exact} copies and {len(suspects) - exact} near-duplicates within a split, {differing} of them under "
        "different classes" + ("; splits drawn from this folder will share them" if drawn else ""),
        numbers=numbers,
        suspects=tuple(sorted(suspects, key=lambda suspect: "different" not in suspect.note)),
    )


def _suspect(material: Material, kept: int, row: int, what: str, note: str) -> Suspect:
    differ = material.labels[kept] != material.labels[row]
    note = ", ".join(part for part in (note, "under different classes" if differ else "") if part)
    return Suspect(rows=(kept, row), what=what, note=note, action="look" if differ else "remove")
