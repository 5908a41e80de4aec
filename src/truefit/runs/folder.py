"""The run folder: the only reader and writer of its files."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from truefit.errors import InputError, shorten
from truefit.runs.evaluation import Evaluation
from truefit.runs.files import append_line, read_json, read_lines, read_tensors, write_json, write_tensors


@dataclass(frozen=True)
class RunFolder:
    """A run's place on disk.

    config.json, history.jsonl, evaluation.json, predictions.npz, model/ (weights.safetensors, model.json,
    golden.safetensors, last/weights.safetensors), evaluations/NAME/.
    """

    path: Path

    @staticmethod
    def check_new(path: str | Path, *, overwrite: bool = False) -> None:
        """Raise InputError where `create` would: the folder holds something, or can't be written.

        overwrite: a folder that holds a run may be replaced; one that holds anything else never is.
        """
        path = Path(path)
        is_run = (path / "config.json").is_file()
        if path.exists() and not path.is_dir():
            raise InputError("the output folder is a file", where=path, fix="name another --out")
        try:
            content = sorted(p.name for p in path.iterdir()) if path.exists() else []
        except OSError as error:
            raise InputError("the output folder can't be read", where=path, found=error.strerror) from None
        if content and not (overwrite and is_run):
            raise InputError(
                "the output folder is not empty",
                where=path,
                found=shorten(content, 5),
                wanted="a new or empty folder",
                fix="name another --out" + (", or say --overwrite to replace this run" if is_run else ""),
            )
        standing = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
            raise InputError(
                "the output folder can't be written",
                where=path,
                found=f"no right to write in {standing}",
                fix="name another --out",
            )

    @classmethod
    def create(cls, path: str | Path, *, overwrite: bool = False) -> RunFolder:
        """An empty folder for a new run; raises what `check_new` raises."""
        path = Path(path)
        cls.check_new(path, overwrite=overwrite)
        folder = cls(path)
        try:
            if path.exists() and any(path.iterdir()):
                path.rename(folder._aside)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                "the output folder can't be written", where=path, found=error, fix="name another --out"
            ) from error
        return folder

    @property
    def _aside(self) -> Path:
        """Where a run that is being replaced waits until the new one has something to show."""
        return self.path.with_name(f".{self.path.name}.replaced")

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run. InputError where there is none."""
        path = Path(path)
        if not (path / "config.json").is_file():
            raise InputError(
                "this is not a run folder",
                where=path,
                found="no config.json" if path.is_dir() else "no such folder",
                wanted="a folder that truefit train wrote",
            )
        return cls(path)

    def remove(self) -> None:
        """Remove everything; a run that was being replaced comes back."""
        shutil.rmtree(self.path)
        if self._aside.is_dir():
            self._aside.rename(self.path)

    def write_config(self, config: dict[str, Any]) -> None:
        """All that is needed to repeat the run."""
        write_json(self.path / "config.json", config)

    def read_config(self) -> dict[str, Any]:
        """What `write_config` wrote."""
        return read_json(self.path / "config.json")

    def add_epoch(self, record: dict[str, Any]) -> None:
        """A line of the history. With the first, a run that was being replaced is gone for good."""
        append_line(self.path / "history.jsonl", record)
        if self._aside.is_dir():
            shutil.rmtree(self._aside)

    def read_history(self) -> list[dict[str, Any]]:
        """A mapping for each epoch."""
        return read_lines(self.path / "history.jsonl")

    def write_model(self, description: dict[str, Any], weights: dict[str, Tensor], golden: dict[str, Tensor]) -> None:
        """The model: weights, what they belong to, and inputs with the outputs they gave."""
        write_tensors(self.path / "model" / "weights.safetensors", weights)
        write_tensors(self.path / "model" / "golden.safetensors", golden)
        write_json(self.path / "model" / "model.json", description)

    def write_last(self, weights: dict[str, Tensor]) -> None:
        """The weights after the last epoch."""
        write_tensors(self.path / "model" / "last" / "weights.safetensors", weights)

    def read_model(self) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
        """What `write_model` wrote."""
        model = self.path / "model"
        return (
            read_json(model / "model.json"),
            read_tensors(model / "weights.safetensors"),
            read_tensors(model / "golden.safetensors"),
        )

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """The run's own evaluation."""
        evaluation.save(self.path)

    def read_evaluation(self) -> Evaluation:
        """The run's own evaluation."""
        return Evaluation.load(self.path)

    def add_evaluation(self, name: str, evaluation: Evaluation) -> Path:
        """A later evaluation, in a new folder of its own: NAME, NAME-2, NAME-3..."""
        parent = self.path / "evaluations"
        parent.mkdir(exist_ok=True)
        number = 1
        while True:
            place = parent / (name if number == 1 else f"{name}-{number}")
            try:
                place.mkdir()
                break
            except FileExistsError:
                number += 1
        evaluation.save(place)
        return place

    def looks(self, split: str) -> int:
        """How often this run has looked at a split so far, from the evaluations that stand in the folder."""
        files = [
            self.path / "evaluation.json",
            *sorted((self.path / "evaluations").glob("*/evaluation.json")),
        ]
        found = 0
        for file in files:
            if file.is_file():
                figures = read_json(file)
                if figures.get("split") == split:
                    found = max(found, int(figures["looks"]))
        return found


def next_run(parent: Path, name: str) -> Path:
    """`parent/NAME-1`, or the first number that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"
