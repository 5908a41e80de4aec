"""The run folder: the only reader and writer of its files."""

from __future__ import annotations

import glob
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from truefit.atomic import remove_temporaries, storage_errors
from truefit.errors import InputError, shorten
from truefit.runs.evaluation import Evaluation
from truefit.runs.files import (
    append_line,
    file_digest,
    read_json,
    read_lines,
    read_tensors,
    write_json,
    write_lines,
    write_tensors,
)
from truefit.runs.ledger import LEDGER, Ledger
from truefit.runs.lock import NAME, Lock

DOCTOR = "doctor.json"
# What a run folder may hold. A folder with anything else in it is never replaced.
OWN = {
    "config.json",
    "history.jsonl",
    "evaluation.json",
    "predictions.npz",
    "model",
    "evaluations",
    "export",
    "logs",
    "checkpoints",
    "report.html",
    "model_card.md",
    "plots",
    DOCTOR,
    LEDGER,
    NAME,
}


@dataclass(frozen=True)
class RunFolder:
    """A run's place on disk.

    config.json, history.jsonl, evaluation.json, predictions.npz, model/ (weights.safetensors, model.json,
    golden.safetensors, last/weights.safetensors), evaluations/NAME/, ledger.jsonl, and while it trains checkpoints/
    and lock.json.

    aside: where a run that this one replaces waits until the new one has something to show.
    lock: held by the process that writes the run.
    """

    path: Path
    aside: Path | None = None
    lock: Lock | None = None

    @staticmethod
    def check_new(path: str | Path, *, overwrite: bool = False) -> None:
        """Raise InputError where `create` would: the folder holds something, or can't be written.

        overwrite: a folder that holds a run and nothing else may be replaced.
        """
        path = _resolved(path)
        if path.exists() and not path.is_dir():
            raise InputError("the output folder is a file", where=path, fix="name another --out")
        content = _content(path)
        is_run = "config.json" in content
        foreign = [name for name in content if name not in OWN]
        if content and not (overwrite and is_run and not foreign):
            fix = "name another --out"
            if is_run and not overwrite and not foreign:
                fix += ", or say --overwrite to replace this run, or --resume to go on with it"
            raise InputError(
                "the output folder is not empty",
                where=path,
                found=shorten(foreign or content, 5),
                wanted="a run and nothing else, to be replaced" if overwrite else "a new or empty folder",
                fix=fix,
            )
        _check_writable(path)

    @classmethod
    def create(cls, path: str | Path, *, overwrite: bool = False) -> RunFolder:
        """A folder for a new run, taken for this process until `release`; raises what `check_new` raises.

        InputError names the process where another one is at work in the folder.
        """
        path = _resolved(path)
        cls.check_new(path, overwrite=overwrite)
        lock = _taken(path)
        try:
            _bring_back(path)
            cls.check_new(path, overwrite=overwrite)
            if not _content(path):
                return cls(path, None, lock)
            aside = path.with_name(f".{path.name}.replaced-{os.getpid()}")
            with storage_errors(path):
                path.rename(aside)
            lock.moved(aside)
            new = _taken(path)
        except BaseException:
            lock.release()
            raise
        lock.release()
        return cls(path, aside, new)

    @classmethod
    def take(cls, path: str | Path) -> RunFolder:
        """A folder to go on in, or to begin in where nothing is there; taken for this process until `release`.

        Raises InputError where it holds something that is no run's, or another process is at work in it.
        """
        path = _resolved(path)
        cls.check_resumable(path)
        lock = _taken(path)
        try:
            with storage_errors(path):
                remove_temporaries(path)
            if not (path / "config.json").is_file():
                _bring_back(path)
        except BaseException:
            lock.release()
            raise
        return cls(path, _aside_of(path), lock)

    @staticmethod
    def check_resumable(path: str | Path) -> None:
        """Raise InputError where `take` would, but for another process."""
        path = _resolved(path)
        if path.exists() and not path.is_dir():
            raise InputError("the output folder is a file", where=path, fix="name another --out")
        foreign = [name for name in _content(path) if name not in OWN and not name.startswith(".")]
        if foreign:
            raise InputError(
                "the output folder holds something else than a run",
                where=path,
                found=shorten(foreign, 5),
                wanted="a run, or nothing",
                fix="name another --out",
            )
        _check_writable(path)

    def release(self) -> None:
        """Others may work in the folder from now on; where nothing is in it, it goes too."""
        if self.lock is not None:
            self.lock.release()
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run. InputError where there is none."""
        path = Path(path)
        for file, what, inside in (("seeds.json", "seeds", "seed-*"), ("folds.json", "folds", "fold-*")):
            if (path / file).is_file():
                one = min(path.glob(inside), default=path / inside.replace("*", "1"))
                raise InputError(
                    f"this folder holds several {what}, a run each, and not one run",
                    where=path,
                    wanted="one run",
                    fix=f"name one of them, such as {one}; truefit report and compare take the whole folder"
                    + (", and so does truefit.load_seeds" if what == "seeds" else ""),
                )
        if (path / "learning_curve.json").is_file():
            raise InputError(
                "this folder holds a learning curve and no run",
                where=path,
                found="learning_curve.json",
                wanted="a run: truefit train without --learning-curve",
            )
        if not (path / "config.json").is_file():
            raise InputError(
                "this is not a run folder",
                where=path,
                found="no config.json" if path.is_dir() else "no such folder",
                wanted="a folder that truefit train wrote",
            )
        return cls(path)

    def check_writable(self, part: str = "") -> None:
        """Raise InputError where nothing can be added to this run, or to a folder in it."""
        standing = _unwritable(self.path / part)
        if standing is not None:
            raise InputError(
                "the run can't be written",
                where=self.path,
                found=f"no right to write in {standing}",
                fix="give the right to write there, or copy the run to where you have it",
            )

    @classmethod
    def check_removable(cls, path: str | Path) -> None:
        """Raise InputError where `remove` would fail, or take away what no run has written."""
        path = _resolved(path)
        foreign = [name for name in _content(path) if name not in OWN]
        if foreign:
            raise InputError(
                "this folder holds something else than a run, and is not removed",
                where=path,
                found=shorten(foreign, 5),
                wanted="a run and nothing else",
                fix=f"move {shorten(foreign, 5)} elsewhere",
            )
        cls.open(path).read_config()
        # A folder's name stands in the one above it.
        standing = _unwritable(path) or _unwritable(path.parent)
        if standing is not None:
            raise InputError(
                "the run can't be removed",
                where=path,
                found=f"no right to write in {standing}",
                fix="give the right to write there",
            )

    def remove(self) -> None:
        """Remove everything that this run wrote; a run that was being replaced comes back."""
        if self.lock is not None:
            self.lock.release()
        shutil.rmtree(self.path)
        if self.aside is not None and self.aside.is_dir():
            self.aside.rename(self.path)

    def begin_again(self) -> None:
        """Remove what a run wrote here that came to nothing, but for its lock."""
        with storage_errors(self.path):
            for place in self.path.iterdir():
                if place.name == NAME:
                    continue
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink()

    @property
    def checkpoints(self) -> Path:
        """Where training state is kept."""
        return self.path / "checkpoints"

    def is_finished(self) -> bool:
        """Whether the run came to its end: its last file is there."""
        if not (self.path / "model" / "last" / "weights.safetensors").is_file():
            return False
        splits = self.read_config()["data"]["splits"]
        return (self.path / "evaluation.json").is_file() or not {"validation", "test"} & set(splits)

    def reopen(self, epochs: int) -> None:
        """Make a finished run one to go on with: its evaluation, after so many epochs, is kept as a later one."""
        evaluation = self.path / "evaluation.json"
        with storage_errors(self.path):
            if evaluation.is_file():
                place = self.path / "evaluations" / f"after-epoch-{epochs}"
                place.mkdir(parents=True, exist_ok=True)
                (self.path / "predictions.npz").replace(place / "predictions.npz")
                evaluation.replace(place / "evaluation.json")
            shutil.rmtree(self.path / "model" / "last", ignore_errors=True)

    def write_config(self, config: dict[str, Any]) -> None:
        """All that is needed to repeat the run."""
        write_json(self.path / "config.json", config)

    def read_config(self) -> dict[str, Any]:
        """What `write_config` wrote."""
        return read_json(self.path / "config.json")

    def add_epoch(self, record: dict[str, Any]) -> None:
        """A line of the history. With the first, a run that was being replaced is gone for good."""
        append_line(self.path / "history.jsonl", record)
        self._replace()

    def without_epochs(self) -> None:
        """An empty history: the network was fitted without any. A run that was being replaced is gone for good."""
        self.write_history([])
        self._replace()

    def _replace(self) -> None:
        if self.aside is not None and self.aside.is_dir():
            shutil.rmtree(self.aside)

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """The whole history anew: lines after the point from which training goes on are dropped."""
        write_lines(self.path / "history.jsonl", records)

    def read_history(self) -> list[dict[str, Any]]:
        """A mapping for each epoch. InputError where a line is of something else."""
        history = read_lines(self.path / "history.jsonl")
        for number, line in enumerate(history, start=1):
            if not isinstance(line.get("epoch"), int):
                where = f"{self.path / 'history.jsonl'}, line {number}"
                raise InputError(
                    "this line is not that of an epoch", where=where, found=shorten(line, 5), wanted="epoch"
                )
        return history

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

    def rewrite_model(self, description: dict[str, Any]) -> None:
        """Other settings for the same weights: model.json is replaced in one move, or stays as it was."""
        before = read_json(self.path / "model" / "model.json")
        write_json(self.path / "model" / "model.json", {**before, **description})

    @cached_property
    def ledger(self) -> Ledger:
        """Which split was looked at how often, and what it chose."""
        return Ledger(self.path / LEDGER)

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """The run's own evaluation."""
        evaluation.save(self.path)

    def write_doctor(self, findings: dict[str, Any]) -> None:
        """What the doctor's monitors found in the training."""
        write_json(self.path / DOCTOR, findings)

    def read_doctor(self) -> dict[str, Any] | None:
        """What `write_doctor` wrote, but for the schema's version; None where the monitors were off."""
        if not (self.path / DOCTOR).is_file():
            return None
        return {key: value for key, value in read_json(self.path / DOCTOR).items() if key != "schema"}

    def read_evaluation(self) -> Evaluation:
        """The run's own evaluation."""
        return Evaluation.load(self.path)

    def add_evaluation(self, name: str, evaluation: Evaluation) -> Path:
        """A later evaluation, in a new folder of its own: NAME, NAME-2, NAME-3..."""
        parent = self.path / "evaluations"
        number = 1
        with storage_errors(parent):
            parent.mkdir(exist_ok=True)
            while True:
                place = parent / (name if number == 1 else f"{name}-{number}")
                try:
                    place.mkdir()
                    break
                except FileExistsError:
                    number += 1
        evaluation.save(place)
        return place


def _content(path: Path) -> list[str]:
    """Names of what is in a folder, but for a lock."""
    try:
        return sorted(p.name for p in path.iterdir() if p.name != NAME) if path.exists() else []
    except OSError as error:
        raise InputError("the output folder can't be read", where=path, found=error.strerror) from None


def _unwritable(path: Path) -> Path | None:
    """The folder that is there already of a path, where nothing can be written in it."""
    standing = next(place for place in (path, *path.parents) if place.exists())
    return None if standing.is_dir() and os.access(standing, os.W_OK | os.X_OK) else standing


def _check_writable(path: Path) -> None:
    standing = _unwritable(path)
    if standing is not None:
        raise InputError(
            "the output folder can't be written",
            where=path,
            found=f"no right to write in {standing}" if standing.is_dir() else f"{standing} is a file, not a folder",
            fix="name another --out",
        )


def _taken(path: Path) -> Lock:
    try:
        path.mkdir(parents=True, exist_ok=True)
        return Lock(path)
    except OSError as error:
        raise InputError(
            "the output folder can't be written", where=path, found=error, fix="name another --out"
        ) from error


def _aside_of(path: Path) -> Path | None:
    """A run that waits to be replaced by the one in this folder, whose process was killed."""
    return next(iter(sorted(path.parent.glob(f".{glob.escape(path.name)}.replaced-*"))), None)


def _bring_back(path: Path) -> None:
    """Undo a replacement whose process was killed: the old run comes back unless the new one has an epoch."""
    aside = _aside_of(path)
    if aside is None:
        return
    history = path / "history.jsonl"
    with storage_errors(path):
        if history.is_file() and history.stat().st_size:
            shutil.rmtree(aside)
            return
        for place in path.iterdir():
            if place.name != NAME:
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        for place in aside.iterdir():
            if place.name != NAME:
                place.rename(path / place.name)
        shutil.rmtree(aside)


def next_run(parent: Path, name: str) -> Path:
    """`parent/NAME-1`, or the first number that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _resolved(path: str | Path) -> Path:
    """The absolute path of an output folder. InputError where it can be none: links in a circle, a name too long."""
    try:
        place = Path(path).resolve()
        place.exists()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError("this can't be an output folder", where=path, found=reason, fix="name another --out") from None
    return place
