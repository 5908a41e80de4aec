"""`truefit runs [FOLDER]` lists runs with their figures; `truefit runs rm RUN...` removes some."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from truefit.commands.arguments import parse
from truefit.errors import InputError, StorageError

if TYPE_CHECKING:
    from truefit.runs.record import Record


@dataclass(frozen=True, kw_only=True)
class ListCommand:
    """List the runs in a folder and below it, with their figures and 95 % intervals. `truefit runs rm RUN...` removes
    runs."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER]")] = Path("runs")
    """Where to look."""
    sort: Literal["name", "accuracy", "loss", "date"] = "date"
    """The order: by name; the best first; the newest first. Runs without figures come last."""
    json: bool = False
    """Print one machine-readable line on stdout."""


@dataclass(frozen=True, kw_only=True)
class RemoveCommand:
    """Remove runs. What is no run, or holds files that are none of a run's, is never removed."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """The folders of the runs."""
    yes: bool = False
    """Do not ask."""


def main(arguments: Sequence[str]) -> int:
    """Parse, list or remove."""
    words = list(arguments)
    if words[:1] == ["rm"]:
        return _remove(parse(RemoveCommand, "runs rm", words[1:]))
    return _list(parse(ListCommand, "runs", words))


def _list(command: ListCommand) -> int:
    from truefit.commands.output import print_json
    from truefit.runs.record import Record

    if not command.folder.is_dir():
        raise InputError("there is no such folder", where=command.folder, fix="truefit train, or name another folder")
    rows: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    for config in sorted(command.folder.rglob("config.json")):
        if any(part.startswith(".") for part in config.relative_to(command.folder).parts):
            continue
        try:
            rows.append(_row(Record.read(config.parent), config))
        except (InputError, KeyError, TypeError, AttributeError) as error:
            unreadable[str(config.parent)] = str(error).partition("\n")[0]
    rows.sort(key=_ORDERS[command.sort])
    if command.json:
        print_json({"folder": str(command.folder), "runs": rows, "unreadable": unreadable})
        return 0
    _print(rows)
    for place, reason in unreadable.items():
        print(f"unreadable: {place}: {reason}", file=sys.stderr)
    return 0


_ORDERS: dict[str, Callable[[dict[str, Any]], tuple[bool, Any]]] = {
    "name": lambda row: (False, row["run"]),
    "accuracy": lambda row: (row["accuracy"] is None, -(row["accuracy"] or 0)),
    "loss": lambda row: (row["loss"] is None, row["loss"] or 0),
    "date": lambda row: (False, -row["changed"]),
}


def _row(record: Record, config: Path) -> dict[str, Any]:
    evaluation = record.evaluation
    return {
        "run": str(record.folder),
        "data": record.config["data"].get("name"),
        "model": record.config["model"]["name"] or record.config["model"]["class"].rpartition(".")[2],
        "epochs": len(record.history),
        "split": None if evaluation is None else evaluation.split,
        "selected_on": None if evaluation is None else evaluation.selected_on,
        "n": None if evaluation is None else evaluation.n,
        "accuracy": None if evaluation is None else evaluation.accuracy,
        "interval": None if evaluation is None else list(evaluation.interval),
        "loss": None if evaluation is None else evaluation.loss,
        "changed": config.stat().st_mtime,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in (("run", "left"), ("data", "left"), ("model", "left"), ("epochs", "right")):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for name in ("accuracy", "95 %", "n", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        figures = ["", "", "not finished", ""]
        if row["accuracy"] is not None:
            low, high = row["interval"]
            interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
            figures = [
                f"{100 * row['accuracy']:.1f} %",
                interval,
                f"{row['n']:,} ({row['split']})",
                f"{row['loss']:.4f}",
            ]
        table.add_row(row["run"], row["data"] or "", row["model"], str(row["epochs"]), *figures)
    # In a pipe or a file there is no width to keep to: a run is a line, whatever its name.
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 1000).print(table)
    print(f"{len(rows)} runs")


def _remove(command: RemoveCommand) -> int:
    from truefit.runs.folder import RunFolder

    if not command.runs:
        raise InputError("no run is named", fix="truefit runs rm RUN...")
    for place in command.runs:
        if place.is_symlink() or not (place / "config.json").is_file():
            raise InputError("this is no run, and is not removed", where=place, wanted="a folder of truefit train")
        RunFolder.check_removable(place)
    if not command.yes:
        if not sys.stdin.isatty():
            raise InputError("there is nobody to ask", fix="--yes")
        print(f"remove {', '.join(map(str, command.runs))}? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 1
    for place in command.runs:
        # Taken first: a run that is being written is refused.
        try:
            folder = RunFolder.take(place)
        except InputError as error:
            raise InputError(error.what, **{**error.details, "fix": "wait until it has ended"}) from error
        try:
            folder.remove()
        except OSError as error:
            raise StorageError(
                "the run can't be removed",
                where=place,
                found=error.strerror or error,
                fix="give the right to write there",
            ) from error
        print(f"removed: {place}")
    return 0
