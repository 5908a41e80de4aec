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
from truefit.runs.files import (
    append_line,
    file_digest,
    read_json,
    read_lines,
    read_tensors,
    write_json,
    write_tensors,
)

# What a run folder may hold. A folder with anything else in it is never replaced.
OWN = {"config.json", "history.jsonl", "evaluation.json", "predictions.npz", "model", "evaluations"}
OWN |= {"report.html", "model_card.md", "plots"}


@dataclass(frozen=True)
class RunFolder:
    """A run's place on disk.

    config.json, history.jsonl, evaluation.json, predictions.npz, model/ (weights.safetensors, model.json,
    golden.safetensors, last/weights.safetensors), evaluations/NAME/.

    aside: where a run that this one replaces waits until the new one has something to show.
    """

    path: Path
    aside: Path | None = None

    @staticmethod
    def check_new(path: str | Path, *, overwrite: bool = False) -> None:
        """Raise InputError where `create` would: the folder holds something, or can't be written.

        overwrite: a folder that holds a run and nothing else may be replaced.
        """
        path = Path(path).resolve()
        if path.exists() and not path.is_dir():
            raise InputError("the output folder is a file", where=path, fix="name another --out")
        try:
            content = sorted(p.name for p in path.iterdir()) if path.exists() else []
        except OSError as error:
            raise InputError("the output folder can't be read", where=path, found=error.strerror) from None
        is_run = "config.json" in content
        foreign = [name for name in content if name not in OWN]
        if content and not (overwrite and is_run and not foreign):
            fix = "name another --out"
            if is_run and not overwrite and not foreign:
                fix += ", or say --overwrite to replace this run"
            raise InputError(
                "the output folder is not empty",
                where=path,
                found=shorten(foreign or content, 5),
                wanted="a run and nothing else, to be replaced" if overwrite else "a new or empty folder",
                fix=fix,
            )
        standing = next(place for place in (path, *path.parents) if place.exists())
        if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
            raise InputError(
                "the output folder can't be written",
                where=path,
                found=f"no right to write in {standing}",
                fix="name another --out",
            )

    @classmethod
    def create(cls, path: str | Path, *, overwrite: bool = False) -> RunFolder:
        """A folder for a new run, claimed for this process; raises what `check_new` raises."""
        path = Path(path).resolve()
        cls.check_new(path, overwrite=overwrite)
        aside = None
        try:
            if path.exists() and any(path.iterdir()):
                aside = path.with_name(f".{path.name}.replaced-{os.getpid()}")
                path.rename(aside)
            path.mkdir(parents=True, exist_ok=True)
            # Of two processes that come this far at once, one gets the folder.
            os.close(os.open(path / "config.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise InputError(
                "another run has just begun in this folder", where=path, fix="name another --out"
            ) from None
        except OSError as error:
            raise InputError(
                "the output folder can't be written", where=path, found=error, fix="name another --out"
            ) from error
        return cls(path, aside)

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
        """Remove everything that this run wrote; a run that was being replaced comes back."""
        shutil.rmtree(self.path)
        if self.aside is not None and self.aside.is_dir():
            self.aside.rename(self.path)

    def write_config(self, config: dict[str, Any]) -> None:
        """All that is needed to repeat the run."""
        write_json(self.path / "config.json", config)

    def read_config(self) -> dict[str, Any]:
        """What `write_config` wrote."""
        return read_json(self.path / "config.json")

    def add_epoch(self, record: dict[str, Any]) -> None:
        """A line of the history. With the first, a run that was being replaced is gone for good."""
        append_line(self.path / "history.jsonl", record)
        if self.aside is not None and self.aside.is_dir():
            shutil.rmtree(self.aside)

    def read_history(self) -> list[dict[str, Any]]:
        """A mapping for each epoch."""
        return read_lines(self.path / "history.jsonl")

    def write_model(self, description: dict[str, Any], weights: dict[str, Tensor], golden: dict[str, Tensor]) -> None:
        """The model: weights, what they belong to, and inputs with the outputs they gave."""
        model = self.path / "model"
        write_tensors(model / "weights.safetensors", weights)
        write_tensors(model / "golden.safetensors", golden)
        digests = {name: file_digest(model / f"{name}.safetensors") for name in ("weights", "golden")}
        write_json(model / "model.json", {**description, "digests": digests})

    def write_last(self, weights: dict[str, Tensor]) -> None:
        """The weights after the last epoch."""
        write_tensors(self.path / "model" / "last" / "weights.safetensors", weights)

    def read_model(self) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
        """What `write_model` wrote."""
        model = self.path / "model"
        description = read_json(model / "model.json")
        weights, golden = read_tensors(model / "weights.safetensors"), read_tensors(model / "golden.safetensors")
        for name in ("weights", "golden"):
            if description["digests"][name] != file_digest(model / f"{name}.safetensors"):
                raise InputError(
                    f"{name}.safetensors is not the file that model.json was written with",
                    where=model,
                    found="another file, or a changed one",
                    wanted=description["digests"][name],
                )
        return description, weights, golden

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
