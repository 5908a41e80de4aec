"""What there is to report of a folder that holds more than a run: one chart, and one page around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truefit.errors import InputError
from truefit.report.chart import Chart
from truefit.runs.files import read_json


@dataclass(frozen=True, kw_only=True)
class FolderReport:
    """page: makes the HTML. found: what the folder holds, in words. one_run: how to name a single run of it."""

    chart: Chart
    page: Callable[[], str]
    found: str
    one_run: str


def read_needed(place: Path, needed: Sequence[str], made_by: str) -> dict[str, Any]:
    """What the file holds. InputError where it can't be read, or where one of the needed keys is missing."""
    content = read_json(place)
    missing = [name for name in needed if name not in content]
    if missing:
        raise not_whole(place, ", ".join(missing), made_by)
    return content


def not_whole(place: Path, missing: str, made_by: str) -> InputError:
    """The error about a file in which something is missing."""
    return InputError(
        f"{place.name} is not whole", where=place, found=f"no {missing}", wanted=f"the file as {made_by} wrote it"
    )
