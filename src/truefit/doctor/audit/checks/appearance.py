"""Which images are one colour, very dark, or very blurred?"""

import numpy as np

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT507", "unreadable-or-odd-files", Severity.WARN
HEALTHY = "images show something"
FIX = "look at them (--sheet audit.html); remove what shows nothing"

CONSTANT, DARK = 2.0, 10.0
"""Standard deviation and mean of luma, 0..255."""
BLURRED = 0.1
"""Sharpness as a share of the data set's median."""


def look(material: Material) -> Seen:
    """Compare luma's mean, deviation and fine detail with fixed limits and with the other images."""
    facts = material.facts
    good = np.flatnonzero(facts.readable)
    if not len(good):
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no pixels", reason="no image can be read")
    constant = facts.readable & (facts.deviation < CONSTANT)
    dark = facts.readable & ~constant & (facts.brightness < DARK)
    median = float(np.median(facts.sharpness[good]))
    blurred = facts.readable & ~constant & ~dark & (facts.sharpness < BLURRED * median)
    named = (("one colour", constant), ("very dark", dark), ("very blurred", blurred))
    suspects = [
        Suspect(rows=(int(row),), what=what, action="remove" if what == "one colour" else "look")
        for what, mask in named
        for row in np.flatnonzero(mask)
    ]
    numbers = {what: int(mask.sum()) for what, mask in named}
    if not suspects:
        return Seen(outcome=Outcome.OK, message="no image is one colour, very dark or very blurred", numbers=numbers)
    return Seen(
        outcome=Outcome.WARN if numbers["one colour"] else Outcome.TIP,
        message=", ".join(f"{count} {what}" for what, count in numbers.items() if count),
        numbers=numbers,
        suspects=tuple(suspects),
    )
