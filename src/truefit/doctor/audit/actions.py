"""What could be done about it? The findings' files as CSV, and a list of proposed actions. Nothing is carried out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from truefit.doctor.audit.check import Result
from truefit.doctor.audit.material import Material

_ITEM = ("code", "what", "action", "value", "file", "split", "class")
COLUMNS = (*_ITEM, "other_file", "other_split", "other_class", "note")


def rows_of(material: Material, results: Sequence[Result]) -> list[dict[str, str]]:
    """A row for each suspect, by COLUMNS. `file` is what the action is for; `other_file` what it resembles."""
    rows = []
    for result in results:
        for suspect in result.suspects:
            target = suspect.rows[-1]
            row = {
                "code": result.finding.code,
                "what": suspect.what,
                "action": suspect.action,
                "value": suspect.value,
                "note": suspect.note,
                **_place(material, target, ""),
            }
            if len(suspect.rows) > 1:
                row |= _place(material, suspect.rows[0], "other_")
            rows.append(row)
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """All suspects, with a header line."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_fix_list(path: Path, rows: Sequence[dict[str, str]]) -> int:
    """What is proposed: action, file and value, once for each file; returns how many. `look` is no proposal."""
    proposed: dict[str, dict[str, str]] = {}
    for row in rows:
        # Removing settles everything else about a file.
        if row["action"] != "look" and (row["file"] not in proposed or row["action"] == "remove"):
            proposed[row["file"]] = row
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, ("action", "file", "value", "code", "what"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(proposed.values())
    return len(proposed)


def _place(material: Material, row: int, prefix: str) -> dict[str, str]:
    name = material.names[row] if material.paths is None else material.paths[row]
    return {
        f"{prefix}file": name,
        f"{prefix}split": material.splits[material.split[row]],
        f"{prefix}class": material.classes[material.labels[row]],
    }
