"""How do the suspects look? One HTML file with a thumbnail of each, that opens offline."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from truefit.data.images import UnreadableImage, fit_image, read_image
from truefit.doctor.audit.check import Result
from truefit.doctor.audit.material import Material

SHOWN = 100
"""Suspects shown of each check; the CSV has all."""

_SIDE = 96
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
.grid { display: flex; flex-wrap: wrap; gap: .75rem; }
figure { margin: 0; padding: .5rem; border: 1px solid #8886; border-radius: 6px; max-width: 15rem; }
figure img { width: 96px; height: 96px; margin-right: 4px; }
figcaption { font-size: 12px; overflow-wrap: anywhere; }
"""


def write_sheet(path: Path, material: Material, results: Sequence[Result]) -> None:
    """The findings that speak, each with up to SHOWN of its suspects."""
    parts = []
    for result in results:
        finding = result.finding
        if not finding.speaks:
            continue
        parts.append(
            f"<section><h2>{html.escape(finding.code)} {html.escape(finding.name)}: {html.escape(finding.outcome)}</h2>"
            f"<p>{html.escape(finding.message)}</p><p>{html.escape(finding.fix)}</p>"
        )
        shown = result.suspects[:SHOWN]
        if len(shown) < len(result.suspects):
            parts.append(f"<p>{len(shown)} of {len(result.suspects)} are shown.</p>")
        figures = "".join(_figure(material, suspect.rows, f"{suspect.what} {suspect.note}") for suspect in shown)
        parts.append(f'<div class="grid">{figures}</div></section>')
    title = html.escape(f"Audit of {material.spec}")
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1><p>{len(material):,} images.</p>{''.join(parts) or '<p>Nothing to see.</p>'}"
        "</body></html>\n",
        encoding="utf-8",
        errors="backslashreplace",
    )


def _figure(material: Material, rows: Sequence[int], note: str) -> str:
    images = "".join(
        f'<img alt="{html.escape(material.describe(row))}" src="data:image/png;base64,{_encoded(material, row)}">'
        for row in rows
    )
    names = "<br>".join(html.escape(material.describe(row)) for row in rows)
    return f"<figure>{images}<figcaption>{html.escape(note)}<br>{names}</figcaption></figure>"


def _encoded(material: Material, row: int) -> str:
    picture = Image.fromarray(material.facts.thumbnails[row])
    if material.paths is not None and material.facts.readable[row] and max(material.facts.size[row]) > _SIDE:
        # Gone since it was read: the thumbnail is still there.
        with suppress(UnreadableImage):
            picture = Image.fromarray(fit_image(read_image(material.paths[row]), _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
