"""Which labels are likely wrong, by networks that were trained on the others?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from truefit.doctor.audit.check import Seen, Suspect
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity

if TYPE_CHECKING:
    from truefit.data.imageset import ImageSet

CODE, NAME, SEVERITY = "FIT508", "likely-label-errors", Severity.TIP
HEALTHY = "networks trained on the rest find the given class at least conceivable"
FIX = "look at each (--sheet audit.html), and move the files that are wrong; --fix-list writes the list"

LEAST = 500


def look(material: Material) -> Seen:
    """Out-of-fold predictions on the first split, where it was asked for."""
    rows = [int(row) for row in (material.facts.readable & (material.split == 0)).nonzero()[0]]
    message = "likely label errors were not looked for"
    if not material.label_errors:
        return Seen(outcome=Outcome.NOT_RUN, message=message, reason="it trains networks: ask with --label-errors")
    if len(rows) < LEAST or len(material.classes) < 2:
        return Seen(
            outcome=Outcome.NOT_APPLICABLE,
            message=message,
            reason=f"{len(rows)} images in {material.splits[0]}; {LEAST} and two classes are needed to learn from",
        )
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        return Seen(outcome=Outcome.NOT_RUN, message=message, reason="needs pip install 'truefit[audit]'")
    from truefit.doctor.audit.features import can_see
    from truefit.doctor.audit.labels import find_label_errors

    pictures = _pictures(material, rows) if can_see() else None
    found = find_label_errors(
        material.facts.thumbnails[rows], material.labels[rows], material.classes, pictures=pictures
    )
    suspects = tuple(
        Suspect(
            rows=(rows[error.row],),
            what="likely label error",
            note=f"given {material.classes[error.given]} ({error.confidence:.3f}), rather "
            f"{material.classes[error.predicted]} ({error.predicted_confidence:.2f})",
            action="relabel",
            value=material.classes[error.predicted],
        )
        for error in found
    )
    numbers = {"images": len(rows), "suspects": len(suspects), "pretrained_network": pictures is not None}
    if not suspects:
        return Seen(outcome=Outcome.OK, message="no label looks wrong", numbers=numbers)
    # audit_faults.json; without the second opinion about half of them were.
    share = "half" if pictures is None else "two thirds"
    return Seen(
        outcome=Outcome.TIP,
        message=f"{len(suspects)} of {len(rows)} labels of {material.splits[0]} look wrong; about {share} of such are, "
        "where one label in a hundred is",
        numbers=numbers,
        suspects=suspects,
    )


def _pictures(material: Material, rows: list[int]) -> ImageSet:
    """The images at these rows for a pretrained network: from their files, where there are any."""
    from truefit.data.imageset import ImageSet
    from truefit.doctor.audit.features import SIDE

    files = None if material.paths is None else tuple(material.paths[row] for row in rows)
    return ImageSet(
        split=material.splits[0],
        classes=material.classes,
        labels=material.labels[rows],
        paths=files,
        pixels=np.ascontiguousarray(material.facts.thumbnails[rows]) if files is None else None,
        image_size=SIDE if files is not None else None,
    )
