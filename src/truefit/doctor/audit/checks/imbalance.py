"""Are some classes much smaller than others?"""

import numpy as np

from truefit.doctor.audit.check import Seen
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity
from truefit.errors import shorten

CODE, NAME, SEVERITY = "FIT509", "imbalance-and-tiny-classes", Severity.TIP
HEALTHY = "every class has at least 20 images in train, and no class ten times those of another"
FIX = "collect more of these classes, or weigh them (class_weights: balanced); read accuracy per class"

RATIO, TINY = 10.0, 20


def look(material: Material) -> Seen:
    """Count the images of each class in the first split."""
    counts = np.bincount(material.labels[material.split == 0], minlength=len(material.classes))
    tiny = [f"{name} ({count})" for name, count in zip(material.classes, counts, strict=True) if count < TINY]
    ratio = float(counts.max() / max(counts.min(), 1))
    numbers = {
        "largest class": int(counts.max()),
        "smallest class": int(counts.min()),
        "ratio": round(ratio, 1),
        "ratio at most": RATIO,
        "images at least": TINY,
    }
    if not tiny and ratio <= RATIO:
        return Seen(outcome=Outcome.OK, message="no class is tiny or much smaller than another", numbers=numbers)
    message = f"the largest class of {material.splits[0]} has {ratio:.1f} times the images of the smallest"
    if tiny:
        message += f"; fewer than {TINY} images: {shorten(tiny, 6)}"
    return Seen(outcome=Outcome.TIP, message=message, numbers=numbers)
