"""Which images have an odd mode, an odd shape, or are tiny beside the others?"""

from collections import Counter

import numpy as np

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT507", "unreadable-or-odd-files", Severity.WARN
HEALTHY = "images of one mode, of similar size, no side more than three times the other"
FIX = "convert them to one mode, and crop or leave out the odd ones"

WIDEST = 3.0
SMALLEST = 0.25
"""An image whose shorter side is below this share of the median would be enlarged more than fourfold."""


def look(material: Material) -> Seen:
    """Compare modes, aspect ratios and sizes."""
    facts = material.facts
    good = np.flatnonzero(facts.readable)
    if not len(good):
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no sizes", reason="no image can be read")
    size = facts.size[good]
    short, long = size.min(1), size.max(1)
    odd = good[long > WIDEST * short]
    median = float(np.median(short))
    tiny = good[short < SMALLEST * median]
    modes = Counter(facts.mode[row] for row in good)
    usual = modes.most_common(1)[0][0]
    other = [int(row) for row in good if facts.mode[row] != usual]
    suspects = [
        *(
            Suspect(rows=(int(row),), what="odd shape", note=f"{facts.size[row][0]} x {facts.size[row][1]}")
            for row in odd
        ),
        *(Suspect(rows=(int(row),), what="tiny", note=f"{facts.size[row][0]} x {facts.size[row][1]}") for row in tiny),
        *(Suspect(rows=(row,), what="other mode", note=facts.mode[row]) for row in other),
    ]
    numbers = {
        "odd shapes": len(odd),
        "tiny": len(tiny),
        "other modes": len(other),
        "median shorter side": int(median),
        "ratio of sides at most": WIDEST,
    }
    if not suspects:
        return Seen(outcome=Outcome.OK, message="images have one mode and ordinary shapes", numbers=numbers)
    kinds = (("long and narrow", odd), ("tiny", tiny), (f"not of mode {usual}", other))
    said = ", ".join(f"{len(rows)} {kind}" for kind, rows in kinds if len(rows))
    return Seen(
        outcome=Outcome.WARN if len(odd) or len(tiny) else Outcome.TIP,
        message=f"odd among the images: {said}",
        numbers=numbers,
        suspects=tuple(suspects),
    )
