"""For the site alone: links to files of the repository that are no pages become their path in words."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?:benchmarks|src|tests|zoo|examples)[^)]*|(?:\.\./)+[A-Z]+[^)/]*)\)")


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called by mkdocs with each page's text."""

    def words(link: re.Match[str]) -> str:
        text, path = link[1], re.sub(r"^(\.\./)+", "", link[2])
        return f"`{path}`" if text in path else f"{text} (`{path}`)"

    return OUTSIDE.sub(words, markdown)
