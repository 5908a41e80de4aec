"""How do the suspects look? One HTML file with a thumbnail of each, that opens offline."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from truefit.data.images import UnreadableImage, read_pixels
from truefit.doctor.audit.check import Result, Suspect
from truefit.doctor.audit.material import Material
from truefit.report.templates import render

SHOWN = 100
"""Suspects shown of each check; the CSV has all."""

_SIDE = 96


def write_sheet(path: Path, material: Material, results: Sequence[Result]) -> None:
    """The findings that speak, each with up to SHOWN of its suspects."""
    sections = [
        {
            "finding": result.finding,
            "count": len(result.suspects),
            "shown": [_shown(material, suspect) for suspect in result.suspects[:SHOWN]],
        }
        for result in results
        if result.finding.speaks
    ]
    text = render("audit.html", title=f"Audit of {material.spec}", images=len(material), sections=sections)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _shown(material: Material, suspect: Suspect) -> dict[str, Any]:
    pictures = [{"name": material.describe(row), "png": _encoded(material, row)} for row in suspect.rows]
    return {"note": f"{suspect.what} {suspect.note}", "pictures": pictures}


def _encoded(material: Material, row: int) -> str:
    picture = Image.fromarray(material.facts.thumbnails[row])
    if material.paths is not None and material.facts.readable[row] and max(material.facts.size[row]) > _SIDE:
        # Gone since it was read: the thumbnail is still there.
        with suppress(UnreadableImage):
            picture = Image.fromarray(read_pixels(material.paths[row], _SIDE)[0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
