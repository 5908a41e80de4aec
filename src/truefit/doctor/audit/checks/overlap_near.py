"""Do two splits hold nearly the same picture: re-encoded, mirrored, shifted, recoloured?"""

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import Material
from truefit.doctor.audit.pairs import ALIKE
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT501", "split-overlap", Severity.FAIL
HEALTHY = "no picture of validation or test has a near-duplicate in another split"
FIX = "look at the pairs (--sheet audit.html), and remove the ones in train; --fix-list writes the list"


def look(material: Material) -> Seen:
    """Search near-duplicates across splits."""
    if len(material.splits) < 2:
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no near-duplicates across splits", reason="only one split")
    suspects, held_out = [], set()
    for pair in material.near:
        if material.split[pair.first] == material.split[pair.second]:
            continue
        kept, removed = sorted((pair.first, pair.second), key=lambda row: -material.split[row])
        held_out.add(kept)
        differ = material.labels[kept] != material.labels[removed]
        note = f"{pair.score:.2f}" + (", mirrored" if pair.mirrored else "")
        note += ", under different classes" if differ else ""
        suspects.append(Suspect(rows=(kept, removed), what="near-duplicate across splits", note=note, action="remove"))
    differing = sum("different" in suspect.note for suspect in suspects)
    numbers = {
        "pairs": len(suspects),
        "pictures": len(held_out),
        "under different classes": differing,
        "correlation at least": ALIKE,
    }
    if not suspects:
        return Seen(outcome=Outcome.OK, message="no near-duplicates across splits", numbers=numbers)
    return Seen(
        outcome=Outcome.WARN,
        message=f"{len(held_out)} pictures of one split have a near-duplicate in another",
        numbers=numbers,
        suspects=tuple(suspects),
    )
