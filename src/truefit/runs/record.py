"""What stands in a run's folder, without its network: enough to tell about the run, on any machine."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from truefit.errors import InputError
from truefit.runs.evaluation import Evaluation
from truefit.runs.files import read_json
from truefit.runs.folder import RunFolder
from truefit.runs.lock import NAME as LOCK

# Read by their own names, or of no interest to a reader; any other table of figures in the folder is in `Record.more`.
READ = {"config.json", "history.jsonl", "evaluation.json", LOCK}


class TellsOfRun(Protocol):
    """What `Record.of` needs: a `Run` has it."""

    @property
    def folder(self) -> Path | None: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def history(self) -> list[dict[str, Any]]: ...
    @property
    def evaluation(self) -> Evaluation | None: ...
    @property
    def weights(self) -> str: ...
    @property
    def selected_on(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run as its files tell it.

    folder: where it stands, or None. config, history, evaluation: see `Run`; the evaluation is None where the run has
    none. weights: which were kept, in words, or None where training broke off before any were. selected_on: the split
    that chose them. later: the figures of `evaluations/NAME`, by name. more: what further JSON files at the top of
    the folder hold, by the file's name without its suffix; of a .jsonl file a list.
    """

    folder: Path | None
    config: dict[str, Any]
    history: list[dict[str, Any]]
    evaluation: Evaluation | None
    weights: str | None
    selected_on: str | None
    later: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: TellsOfRun) -> Record:
        """The record of a run in memory; with a folder, what has been added there is read."""
        return cls(
            folder=run.folder,
            config=run.config,
            history=run.history,
            evaluation=run.evaluation,
            weights=run.weights,
            selected_on=run.selected_on,
            later=_later(run.folder) if run.folder is not None else {},
            more=_more(run.folder) if run.folder is not None else {},
        )

    @classmethod
    def read(cls, path: str | Path) -> Record:
        """The record of a run folder. InputError where there is none, or where a file is damaged."""
        folder = RunFolder.open(path)
        about: dict[str, Any] = {}
        if (folder.path / "model" / "model.json").is_file():
            about = read_json(folder.path / "model" / "model.json")
        return cls(
            folder=folder.path,
            config=folder.read_config(),
            history=folder.read_history() if (folder.path / "history.jsonl").is_file() else [],
            evaluation=folder.read_evaluation() if (folder.path / "evaluation.json").is_file() else None,
            weights=about.get("weights"),
            selected_on=about.get("selected_on"),
            later=_later(folder.path),
            more=_more(folder.path),
        )

    @property
    def name(self) -> str:
        """What to call the run: its folder's name, or that of its data."""
        if self.folder is not None:
            return self.folder.resolve().name
        return str(self.config.get("data", {}).get("name") or "a run")

    @property
    def chosen_epoch(self) -> int | None:
        """The epoch (from 1) whose weights were chosen as the best; None where none was."""
        return chosen_epoch(self.weights or "")

    @property
    def unit(self) -> str:
        """What the samples are: "images", or "samples" of a data set of tensors."""
        return "images" if self.config.get("predictor", {}).get("images", "files") == "files" else "samples"


def chosen_epoch(weights: str) -> int | None:
    """The epoch (from 1) that was chosen as the best, of weights in words; None where none was."""
    found = re.search(r"best \(epoch (\d+)\)", weights)
    return int(found[1]) if found else None


def _later(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted((folder / "evaluations").glob("*/evaluation.json"))
    return {file.parent.name: read_json(file) for file in files}


def _more(folder: Path) -> dict[str, Any]:
    found = {}
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.jsonl")]):
        if file.name in READ or file.name.startswith("."):
            continue
        try:
            text = file.read_text(encoding="utf-8")
            lines = file.suffix == ".jsonl"
            found[file.stem] = [json.loads(line) for line in text.splitlines() if line] if lines else json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{file.name} can't be read", where=file, found=error, wanted="JSON") from error
    return found
