"""Do files that belong together by their names (patient12_003.jpg) lie in different splits?"""

import re
from collections import defaultdict
from pathlib import PurePath

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity

CODE, NAME, SEVERITY = "FIT501", "split-overlap", Severity.FAIL
HEALTHY = "all pictures of one patient, video or place are in one split"
FIX = "draw the splits by group, so that all files of a group go to one split"

# A name that holds a number, then a separator, then the number of the picture.
_PATTERN = re.compile(r"^(?P<group>.*\d.*?)[_\-. ](?:frame|img|image|f|p)?\d+$", re.IGNORECASE)


def look(material: Material) -> Seen:
    """Compare the groups that file names suggest across splits."""
    if material.paths is None or len(material.splits) < 2:
        reason = "there are no file names" if material.paths is None else "only one split"
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no groups across splits", reason=reason)
    groups = defaultdict(list)
    for row, path in enumerate(material.paths):
        match = _PATTERN.match(PurePath(path).stem)
        if match:
            groups[match["group"]].append(row)
    matched = sum(map(len, groups.values()))
    # Names that fit by chance make groups of one, or one group of everything.
    if matched < len(material) / 2 or len(groups) < 3 or matched < 2 * len(groups):
        return Seen(
            outcome=Outcome.NOT_APPLICABLE,
            message="no groups across splits",
            reason="file names do not suggest groups",
        )
    shared = {name: rows for name, rows in groups.items() if len({int(material.split[row]) for row in rows}) > 1}
    numbers = {"groups": len(groups), "in several splits": len(shared), "at most": 0}
    if not shared:
        return Seen(outcome=Outcome.OK, message="groups by file name keep to one split", numbers=numbers)
    suspects = []
    for name, rows in sorted(shared.items()):
        first = rows[0]
        other = next(row for row in rows if material.split[row] != material.split[first])
        suspects.append(Suspect(rows=(other, first), what="group in several splits", note=name))
    return Seen(
        outcome=Outcome.WARN,
        message=f"{len(shared)} of {len(groups)} groups that file names suggest lie in several splits",
        numbers=numbers,
        suspects=tuple(suspects),
    )
