"""`truefit doctor data FOLDER_OR_NAME`: look through a data set before it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from truefit.commands.arguments import parse

SHOWN = 5
"""Suspects that are named in the terminal."""


@dataclass(frozen=True, kw_only=True)
class DoctorDataCommand:
    """Look for leaks, copies, broken and odd files, class folders that differ, and likely label errors. Nothing in
    the folder is changed. Exit code 3 where a check fails."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A folder of class folders, or with train/ val/ test/; or the name of a data set."""
    val: Path | None = None
    """A folder of class folders: the validation split."""
    test: Path | None = None
    """A folder of class folders: the test split."""
    label_errors: bool = False
    """Look for likely label errors too. Trains networks: minutes for 50,000 images. Needs truefit[audit]."""
    sheet: Path | None = None
    """Write a page with the suspects' pictures here (HTML, opens offline)."""
    csv: Path | None = None
    """Write all suspects here, a line each."""
    fix_list: Path | None = None
    """Write what is proposed here: remove, relabel or rotate, a line a file. Nothing is carried out."""
    strict: bool = False
    """Exit code 3 on warnings, too."""
    json: bool = False
    """Print one machine-readable line on stdout instead of the table."""


def main(arguments: Sequence[str]) -> int:
    """Parse, look, print."""
    command = parse(DoctorDataCommand, "doctor data", arguments)

    from rich.console import Console
    from rich.table import Table

    from truefit.commands.output import counted, human_stream, one_line, print_json
    from truefit.doctor.audit.actions import rows_of, write_csv, write_fix_list
    from truefit.doctor.audit.check import examine
    from truefit.doctor.audit.material import gather
    from truefit.doctor.audit.sheet import write_sheet
    from truefit.doctor.finding import exit_code, worst_first
    from truefit.errors import InputError
    from truefit.progress import Bar

    for place in (command.sheet, command.csv, command.fix_list):
        if place is not None and not place.absolute().parent.is_dir():
            raise InputError("the folder to write into does not exist", where=place.absolute().parent)
    material = gather(
        command.data,
        validation=command.val,
        test=command.test,
        label_errors=command.label_errors,
        on_progress=Bar().reading,
    )
    results = examine(material)
    findings = worst_first([result.finding for result in results])
    rows = rows_of(material, results)
    stream = human_stream(command.json)
    if command.sheet is not None:
        write_sheet(command.sheet, material, results)
    if command.csv is not None:
        write_csv(command.csv, rows)
    proposed = write_fix_list(command.fix_list, rows) if command.fix_list is not None else None
    if command.json:
        counts = {split: int((material.split == number).sum()) for number, split in enumerate(material.splits)}
        code = exit_code(findings, strict=command.strict)
        listed = [finding.to_json() for finding in findings]
        print_json({"data": command.data, "images": counts, "findings": listed, "suspects": rows, "exit_code": code})
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("code", "outcome", "what"):
            table.add_column(name)
        for finding in findings:
            message = finding.message + (f" ({finding.reason})" if finding.reason else "")
            table.add_row(finding.code, finding.outcome.value, _plain(message))
            if finding.speaks:
                table.add_row("", "", _plain(f"  fix: {finding.fix}"))
        Console(file=stream, highlight=False).print(table)
        ranks = [finding.code for finding in findings]
        for row in sorted(rows, key=lambda row: ranks.index(row["code"]))[:SHOWN]:
            beside = f", {row['other_file']}" if row.get("other_file") else ""
            note = f" ({row['note']})" if row["note"] else ""
            print(one_line(f"  {row['code']} {row['what']}: {row['file']}{beside}{note}"), file=stream)
        if rows:
            more = f"{len(rows) - SHOWN:,} more; " if len(rows) > SHOWN else ""
            print(f"  {more}--sheet suspects.html shows them, --csv suspects.csv lists them", file=stream)
        suspects = counted(len(rows), "suspect")
        print(f"{len(material):,} images in {', '.join(material.splits)}; {suspects}", file=stream)
    for what, place in (("page", command.sheet), ("suspects", command.csv), ("fix list", command.fix_list)):
        if place is not None:
            count = f" ({proposed} actions)" if place is command.fix_list else ""
            print(f"{what}: {place}{count}", file=stream)
    return exit_code(findings, strict=command.strict)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
