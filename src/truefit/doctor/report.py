"""Findings for people (a table), for scripts (JSON), and for code hosts (SARIF, GitHub's annotations)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from truefit.doctor.finding import Finding, Outcome, worst_first

if TYPE_CHECKING:
    from truefit.doctor.script import Watched

COLOURS = {Outcome.FAIL: "bold red", Outcome.WARN: "yellow", Outcome.TIP: "cyan"}


def as_json(watched: Watched, code: int) -> dict[str, Any]:
    """Schema 1: every finding, the exit code of the command and the script's own, seconds, notes."""
    return {
        "schema": 1,
        "findings": [_plain(finding) for finding in worst_first(watched.findings)],
        "exit": code,
        "script_exit": watched.script_exit,
        "cut": watched.cut,
        "notes": watched.notes,
        "seconds": watched.seconds,
    }


def _plain(finding: Finding) -> dict[str, Any]:
    plain = finding.to_json()
    # JSON has no NaN.
    plain["numbers"] = {k: v if not isinstance(v, float) or v - v == 0 else str(v) for k, v in plain["numbers"].items()}
    return plain


def print_table(
    findings: Sequence[Finding], stream: TextIO, *, notes: Sequence[str] = (), everything: bool = False
) -> None:
    """What speaks up, worst first: claim, figures, place, cure; then a line that counts the rest, and the notes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    # Lines of any length where they are not looked at in a terminal: for files and for grep.
    console.soft_wrap = not console.is_terminal
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 1, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    speaking = [finding for finding in worst_first(findings) if finding.speaks]
    console.print()
    console.print(Text("truefit doctor", style="bold"))
    for finding in speaking:
        name = f"{finding.outcome.value.upper()} {finding.code}"
        if console.is_terminal:
            table.add_row(Text(name, style=COLOURS[finding.outcome]), Text(describe(finding)))
        else:
            indented = describe(finding).replace("\n", "\n" + " " * (len(name) + 2))
            print("\n".join(line.rstrip() for line in f"{name}  {indented}".split("\n")), end="\n\n", file=stream)
    if speaking and console.is_terminal:
        console.print(table)
    if everything:
        for finding in worst_first(findings):
            if not finding.speaks:
                about = finding.reason or finding.message
                console.print(Text(f"{finding.code} {finding.name}: {finding.outcome.value}. {about}"))
    counts = Counter(finding.outcome for finding in findings)
    console.print(Text(", ".join(f"{counts[one]} {one.value}" for one in Outcome if counts[one])))
    for note in notes:
        console.print(Text(note))


def describe(finding: Finding) -> str:
    """The finding in a few lines."""
    lines = [finding.message]
    if str(finding.where):
        lines.append(f"at:       {finding.where}")
    if finding.numbers:
        lines.append("figures:  " + "; ".join(f"{name}: {value}" for name, value in finding.numbers.items()))
    lines.append(f"healthy:  {finding.healthy}")
    if finding.fix:
        lines.append(f"fix:      {finding.fix}")
    lines.append(f"silence:  # truefit: ignore {finding.code} (why)")
    lines.append(f"more:     truefit doctor explain {finding.code}")
    return "\n".join(lines)


def as_github(findings: list[Finding]) -> str:
    """Workflow commands: annotations at the lines of a pull request."""
    kinds = {Outcome.FAIL: "error", Outcome.WARN: "warning", Outcome.TIP: "notice"}
    lines = []
    for finding in worst_first(findings):
        if finding.speaks:
            text = f"{finding.message} Fix: {finding.fix}".replace("%", "%25").replace("\n", "%0A")
            place = f"file={_relative(finding.where.file)},line={finding.where.line}," if finding.where.line else ""
            lines.append(f"::{kinds[finding.outcome]} {place}title={finding.code} {finding.name}::{text}")
    return "\n".join(lines)


def as_sarif(findings: list[Finding]) -> dict[str, Any]:
    """SARIF 2.1.0, as code scanning reads it."""
    levels = {Outcome.FAIL: "error", Outcome.WARN: "warning", Outcome.TIP: "note"}
    speaking = [finding for finding in worst_first(findings) if finding.speaks]
    results = []
    for finding in speaking:
        result: dict[str, Any] = {
            "ruleId": finding.code,
            "level": levels[finding.outcome],
            "message": {"text": f"{finding.message} Fix: {finding.fix}"},
        }
        if finding.where.file and finding.where.line:
            place = {
                "artifactLocation": {"uri": _uri(finding.where.file)},
                "region": {"startLine": finding.where.line},
            }
            result["locations"] = [{"physicalLocation": place}]
        results.append(result)
    rules = [{"id": f.code, "name": f.name, "shortDescription": {"text": f.healthy or f.message}} for f in findings]
    driver = {"name": "truefit doctor", "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _uri(file: str) -> str:
    """Relative to the folder where the doctor runs, which is the checkout's root in CI; else absolute."""
    relative = _relative(file)
    return Path(relative).as_uri() if Path(relative).is_absolute() else quote(relative)


def _relative(file: str | None) -> str:
    path = Path(file or "")
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_absolute() and path.is_relative_to(here) else path.as_posix()
