"""Do all splits give a class the same number?"""

from truefit.doctor.audit.check import Seen
from truefit.doctor.audit.material import Material
from truefit.doctor.finding import Outcome, Severity
from truefit.errors import shorten

CODE, NAME, SEVERITY = "FIT502", "class-map-mismatch", Severity.FAIL
HEALTHY = "every split has the same class folders, and nothing else that could be taken for one"
FIX = "give every split the same folders; fix the order of the classes by name, not by what a split happens to hold"


def look(material: Material) -> Seen:
    """Compare the class folders of the splits; look for hidden ones, and for numbers in the order of text."""
    if material.paths is None:
        return Seen(outcome=Outcome.NOT_APPLICABLE, message="no class folders", reason="there are no folders")
    visible = {split: [name for name in names if not _hidden(name)] for split, names in material.folders.items()}
    everything = sorted({name for names in visible.values() for name in names})
    missing = [f"{split}: no {name}" for split, names in visible.items() for name in everything if name not in names]
    hidden = [f"{split}/{name}" for split, names in material.folders.items() for name in names if _hidden(name)]
    numbers = {"classes": len(everything), "missing": len(missing), "hidden folders with images": len(hidden)}
    if missing:
        return Seen(
            outcome=Outcome.FAIL,
            message=f"the splits have different class folders: {shorten(missing, 6)}",
            numbers=numbers,
        )
    if hidden:
        return Seen(
            outcome=Outcome.WARN,
            message=f"hidden folders hold images; some loaders take them for a class: {shorten(hidden, 6)}",
            numbers=numbers,
            fix="remove these folders",
        )
    if all(name.isdecimal() for name in everything) and everything != sorted(everything, key=int):
        position = next(at for at, name in enumerate(everything) if int(name) != sorted(map(int, everything))[at])
        return Seen(
            outcome=Outcome.WARN,
            message=f"class names are numbers ordered as text: label {position} is class {everything[position]}",
            numbers=numbers,
            fix="pad the names with zeros (02, 10), or read labels back through the class names",
        )
    return Seen(outcome=Outcome.OK, message="all splits have the same class folders", numbers=numbers)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
