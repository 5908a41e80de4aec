"""A cross-validation as it lies on the disk: fold-1/, fold-2/..., the pooled evaluation, and folds.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from truefit.errors import InputError
from truefit.runs.evaluation import Evaluation
from truefit.runs.files import read_json

FILE = "folds.json"
OUT_OF_FOLD = "out-of-fold"
"""The split of the pooled predictions: each sample was held out in one fold, and predicted by that fold's model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldRuns:
    """The runs of a cross-validation. folds: by their number, from 1. evaluation: all held-out predictions pooled."""

    folder: Path
    folds: dict[int, Evaluation]
    evaluation: Evaluation


def is_folds_folder(path: str | Path) -> bool:
    """Whether the folder holds a cross-validation."""
    return (Path(path) / FILE).is_file()


def load_folds(path: str | Path) -> FoldRuns:
    """Read a folder that `truefit train --folds` wrote. InputError where it is not finished, damaged or changed."""
    folder = Path(path)
    count = read_json(folder / FILE).get("plan", {}).get("folds")
    if not isinstance(count, int) or count < 2:
        raise InputError("folds.json is incomplete", where=folder, found=f"{count!r} folds")
    missing = [
        f"fold-{fold}" for fold in range(1, count + 1) if not (folder / f"fold-{fold}/evaluation.json").is_file()
    ]
    if missing or not (folder / "evaluation.json").is_file():
        raise InputError(
            "this cross-validation is not finished",
            where=folder,
            found=f"without {', '.join(missing) or 'its pooled evaluation'}",
            fix="the same truefit train --folds command once more goes on with it",
        )
    folds = {fold: Evaluation.load(folder / f"fold-{fold}") for fold in range(1, count + 1)}
    return FoldRuns(folder=folder, folds=folds, evaluation=Evaluation.load(folder))
