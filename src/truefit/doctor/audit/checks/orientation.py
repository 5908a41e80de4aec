"""Which files are stored turned, with a note in EXIF on how to turn them back?"""

import numpy as np

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT507", "unreadable-or-odd-files", Severity.WARN
HEALTHY = "files are stored upright"
FIX = "store them upright (for example with jpegtran or PIL.ImageOps.exif_transpose); truefit itself turns them"

_DEGREES = {3: "180", 6: "90 clockwise", 8: "90 counterclockwise"}


def look(material: Material) -> Seen:
    """List files whose EXIF orientation is not 1."""
    if material.paths is None:
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no EXIF", reason="there are no files")
    rows = np.flatnonzero(material.facts.readable & (material.facts.orientation > 1))
    numbers = {"turned": len(rows), "at most": 0}
    if not len(rows):
        return Seen(outcome=Outcome.OK, message="all files are stored upright", numbers=numbers)
    suspects = []
    for row in map(int, rows):
        value = int(material.facts.orientation[row])
        turn = _DEGREES.get(value, "mirrored")
        suspects.append(Suspect(rows=(row,), what="turned", note=f"EXIF {value}", action="rotate", value=turn))
    return Seen(
        outcome=Outcome.WARN,
        message=f"{len(rows)} files are stored turned; truefit turns them upright, many loaders do not",
        numbers=numbers,
        suspects=tuple(suspects),
    )
