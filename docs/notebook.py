"""The tutorial as a notebook: `python docs/notebook.py` writes docs/tutorial.ipynb from docs/en/tutorial.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGE, NOTEBOOK = DOCS / "en" / "tutorial.md", DOCS / "tutorial.ipynb"
PROGRAM = re.compile(r"^```python\n(.*?)^```\n", flags=re.DOTALL | re.MULTILINE)


def notebook(page: str) -> dict[str, Any]:
    """A cell for each program, one for the text in between, in the page's order. Without outputs."""
    # Every second part is a program. Links lead from docs/, not from docs/en/.
    parts = PROGRAM.split(page.replace("](../", "](./"))
    cells = [_cell(number, part.strip("\n")) for number, part in enumerate(parts) if part.strip()]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(number: int, text: str) -> dict[str, Any]:
    code = number % 2 == 1
    cell: dict[str, Any] = {
        "cell_type": "code" if code else "markdown",
        "id": f"part-{number}",
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return cell | ({"execution_count": None, "outputs": []} if code else {})


def written(page: str) -> str:
    """The file's text."""
    return json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
