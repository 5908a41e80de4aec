"""The page of each code: files in pages/, part of the package."""

from __future__ import annotations

from pathlib import Path

from truefit.errors import InputError, nearest

PAGES = Path(__file__).with_name("pages")


def codes() -> list[str]:
    """All codes that have a page."""
    return sorted(path.stem for path in PAGES.glob("FIT*.md"))


def page(code: str) -> str:
    """The page of a code, in Markdown. Raises InputError for one that is not known."""
    path = PAGES / f"{code}.md"
    if code not in codes():
        raise InputError(f"unknown code {code}", where="truefit doctor explain", fix=nearest(code, codes()))
    return path.read_text(encoding="utf-8")
