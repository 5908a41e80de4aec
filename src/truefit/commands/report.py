"""`truefit report RUN [RUN...]`: a run as one page, a model card or plots; several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from truefit.atomic import FIX
from truefit.commands.arguments import parse
from truefit.errors import StorageError, with_fix


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write the report of a run, or one page with several runs side by side. Nothing is measured anew."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Folders that truefit train wrote."""
    out: Path | None = None
    """Where to. By default RUN/report.html, RUN/model_card.md or RUN/plots; comparison.html for several runs."""
    format: Literal["html", "md", "png"] = "html"
    """html: one page, for several runs too. md: a model card, the README.md of a model repository. png: plots."""
    overwrite: bool = False
    """Replace what is there. RUN/report.html is always replaced."""
    json: bool = False
    """Print one machine-readable line on stdout."""
    quiet: bool = False
    """Print nothing but errors and the line of --json."""


def main(arguments: Sequence[str]) -> int:
    """Parse, write, say where."""
    command = parse(ReportCommand, "report", arguments)

    from truefit.commands.output import human_stream, print_json
    from truefit.report.build import write_report

    try:
        place = write_report(command.runs, out=command.out, form=command.format, overwrite=command.overwrite)
    except StorageError as error:
        raise with_fix(error, f"{FIX}, or name another --out") from error
    if not command.quiet:
        print(f"written to {place}", file=human_stream(command.json))
    if command.json:
        print_json({"runs": [str(run) for run in command.runs], "format": command.format, "report": str(place)})
    return 0
