"""Writes docs/en/licences.md and docs/de/licences.md: the packages that truefit uses, and their licences.

python docs/licences.py      with all extras installed; what is said comes from the packages' own metadata
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

DOCS = Path(__file__).parent
# Tools for working on truefit, which nobody needs to use it.
LEFT_OUT = ("test", "docs")
ENGLISH = """# Licences of what truefit uses

truefit is under Apache-2.0. It contains no code of other projects; it uses these packages, which are installed beside
it, each under its own licence. The list is made from the packages' metadata by `python docs/licences.py`; a dash says
that these name none. What the packages need in turn is not listed; neither are pretrained weights and data sets, which
have licences of their own.

"""
GERMAN = """# Lizenzen dessen, was truefit benutzt

truefit steht unter Apache-2.0. Es enthält keinen Code anderer Projekte; es benutzt diese Pakete, die daneben
installiert werden, jedes unter seiner eigenen Lizenz. Die Liste stammt aus den Metadaten der Pakete, durch
`python docs/licences.py`; ein Strich heißt, dass diese keine nennen. Was die Pakete ihrerseits brauchen, steht nicht
hier; ebenso wenig vortrainierte Gewichte und Datensätze, die eigene Lizenzen haben.

"""
HEADS = {"en": ("package", "licence", "always"), "de": ("Paket", "Lizenz", "immer")}


def pages() -> dict[str, str]:
    """Language -> the page."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    groups = {"": project["dependencies"]} | {name: extras[name] for name in extras if name not in LEFT_OUT}
    found = {}
    for language, intro in (("en", ENGLISH), ("de", GERMAN)):
        package, licence, always = HEADS[language]
        lines = [f"| truefit | {package} | {licence} |", "|---|---|---|"]
        for extra, requirements in groups.items():
            for name in sorted({re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}, key=str.lower):
                lines.append(f"| {f'`truefit[{extra}]`' if extra else always} | {name} | {licence_of(name)} |")
        found[language] = intro + "\n".join(lines) + "\n"
    return found


def licence_of(package: str) -> str:
    """The licence in a package's metadata: SPDX expression, else classifiers, else the text's first line."""
    about = metadata(package)
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License :: ")]
    names = [line.rpartition(" :: ")[2] for line in classifiers if line != "License :: OSI Approved"]
    text = (about.get("License") or "").strip().partition("\n")[0]
    return ", ".join(names) or (text if text != "UNKNOWN" else "") or "-"


if __name__ == "__main__":
    for language, page in pages().items():
        (DOCS / language / "licences.md").write_text(page, encoding="utf-8")
