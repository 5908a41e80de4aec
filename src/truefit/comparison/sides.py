"""What is compared: evaluations from runs, folders or memory, checked to be of the very same samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from truefit.errors import InputError, shorten
from truefit.runs.evaluation import Evaluation
from truefit.runs.folds import is_folds_folder, load_folds
from truefit.runs.run import Run
from truefit.runs.seeds import SeedRuns, is_seeds_folder, load_seeds

One = Evaluation | Run | SeedRuns | str | Path
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Side:
    """A model, or a recipe by its several seeds. letter: how it is called. name: where it came from."""

    letter: str
    name: str
    evaluations: tuple[Evaluation, ...]

    @property
    def accuracy(self) -> float:
        """The mean over seeds, 0..1."""
        return float(np.mean([evaluation.accuracy for evaluation in self.evaluations]))

    @property
    def right(self) -> np.ndarray:
        """bool (seeds, n): who is right on which sample."""
        return np.stack([evaluation.predicted == evaluation.label for evaluation in self.evaluations])

    def __str__(self) -> str:
        """Such as `A: runs/x  98.3 %  [97.0, 99.1]  n = 360 (test)`."""
        if len(self.evaluations) == 1:
            return f"{self.letter}: {self.name}  {self.evaluations[0]}"
        first = self.evaluations[0]
        each = ", ".join(f"{100 * evaluation.accuracy:.1f}" for evaluation in self.evaluations)
        where = ", ".join(filter(None, [first.split, first.label_of_selection]))
        count = f"{len(self.evaluations)} seeds"
        mean = f"{100 * self.accuracy:.1f} % on average of {count} ({each})"
        return f"{self.letter}: {self.name}  {mean}  n = {first.n:,} ({where})"


def make_sides(given: Sequence[One | Sequence[One]]) -> tuple[Side, ...]:
    """Each item a side: one model, a list of models (seeds), or a folder of seeds. InputError where there are < 2."""
    if len(given) < 2:
        raise InputError(
            "a comparison needs two sides",
            found=f"{len(given)}",
            wanted="two runs or more",
            fix="truefit compare RUN_A RUN_B",
        )
    if len(given) > len(LETTERS):
        raise InputError("too many sides", found=len(given), wanted=f"at most {len(LETTERS)}")
    sides = []
    for letter, side in zip(LETTERS, given, strict=False):
        items = list(side) if isinstance(side, list | tuple) else [side]
        found = [pair for item in items for pair in _evaluations(item, letter)]
        if not found:
            raise InputError(f"side {letter} is empty", wanted="a run")
        _check_distinct(letter, [evaluation for _, evaluation in found])
        name = found[0][0] if len(items) == 1 and len(found) == 1 else ", ".join(_name(item, letter) for item in items)
        sides.append(Side(letter=letter, name=name, evaluations=tuple(evaluation for _, evaluation in found)))
    return tuple(sides)


def _check_distinct(letter: str, evaluations: list[Evaluation]) -> None:
    for at, one in enumerate(evaluations):
        for other in evaluations[:at]:
            if one is other or np.array_equal(one.probabilities, other.probabilities):
                raise InputError(
                    f"side {letter} holds the same model twice",
                    found="equal predictions",
                    wanted="runs with different seeds",
                )


def _name(item: object, letter: str) -> str:
    if isinstance(item, Run | SeedRuns):
        return str(item.folder) if item.folder is not None else f"run {letter}"
    return str(item) if isinstance(item, str | Path) else f"evaluation {letter}"


def _evaluations(item: object, letter: str) -> Iterator[tuple[str, Evaluation]]:
    name = _name(item, letter)
    if isinstance(item, Evaluation):
        yield name, item
    elif isinstance(item, Run):
        if item.evaluation is None:
            raise InputError(
                "this run was never evaluated", where=name, fix="train with a test set, or truefit evaluate"
            )
        yield name, item.evaluation
    elif isinstance(item, SeedRuns):
        yield from ((f"{name}, seed {seed}", evaluation) for seed, evaluation in item.evaluations.items())
    elif isinstance(item, str | Path):
        if not Path(item).is_dir():
            raise InputError("there is no such run", where=name, found="no such folder", wanted="a folder of a run")
        if is_folds_folder(item):
            yield name, load_folds(item).evaluation
        elif is_seeds_folder(item):
            yield from _evaluations(load_seeds(item), letter)
        else:
            yield name, Evaluation.load(item)
    else:
        raise InputError(
            "this can't be compared",
            found=type(item).__name__,
            wanted="an Evaluation, a Run, what fit_seeds returns, or the path of one",
        )


def check_same_samples(sides: Sequence[Side]) -> str:
    """How it is known that all evaluations are of the same samples in the same order: `contents` or `paths`.

    InputError where they are not, or where it can't be known.
    """
    every = [(side.letter, evaluation) for side in sides for evaluation in side.evaluations]
    for letter, evaluation in every:
        _check_usable(letter, evaluation)
    (_, first), *others = every
    ways = {_same(first, evaluation, f"A and {letter}") for letter, evaluation in others}
    return "paths" if "paths" in ways else "contents"


def _check_usable(letter: str, evaluation: Evaluation) -> None:
    if evaluation.multi_label:
        raise InputError(
            f"side {letter} gives several labels to an image: there is no test of that here",
            found="several labels an image",
            wanted="one class an image",
            fix="look at average_precision and its intervals in both evaluation.json",
        )
    if evaluation.n == 0:
        raise InputError(f"side {letter} has no samples", found="n = 0", wanted="at least 1 sample")
    bad = np.flatnonzero(np.isnan(evaluation.probabilities).any(axis=1))
    if len(bad):
        raise InputError(
            f"side {letter} has probabilities that are NaN",
            where=f"samples {shorten(bad.tolist())}",
            found=f"{len(bad)} of {evaluation.n} samples",
            wanted="probabilities",
        )


def _same(a: Evaluation, b: Evaluation, who: str) -> str:
    if a.classes != b.classes:
        order = set(a.classes) == set(b.classes)
        raise InputError(
            f"{who} have {'their classes in another order' if order else 'other classes'}",
            found=shorten(b.classes),
            wanted=shorten(a.classes),
            fix="measure both on the same data" if not order else "train both with the same order of classes",
        )
    if a.n != b.n:
        raise InputError(
            f"{who} were measured on different samples",
            found=f"n = {b.n} ({b.split})",
            wanted=f"n = {a.n} ({a.split})",
            fix="measure both on the same images: truefit evaluate RUN FOLDER",
        )
    if a.fingerprint is not None and a.fingerprint == b.fingerprint and np.array_equal(a.label, b.label):
        return "contents"
    if a.paths is not None and b.paths is not None and np.array_equal(a.label, b.label):
        # The folder may have been moved as a whole.
        if _tails(a.paths) == _tails(b.paths):
            return "paths"
        different = [row for row in range(a.n) if _tails(a.paths)[row] != _tails(b.paths)[row]]
        found = (
            f"{len(different)} of {a.n} files differ, the first: {b.paths[different[0]]}, not {a.paths[different[0]]}"
        )
    elif not np.array_equal(a.label, b.label):
        found = f"{int((a.label != b.label).sum())} of {a.n} labels differ"
    elif a.fingerprint is None or b.fingerprint is None:
        raise InputError(
            f"whether {who} were measured on the same samples is not known",
            found="neither paths nor a fingerprint in one of them",
            wanted="evaluations that name their samples",
            fix="measure both once more, or give from_logits the paths or a fingerprint of the samples",
        )
    else:
        found = "equal labels, but other images (their fingerprints differ)"
    raise InputError(
        f"{who} were measured on different samples, or in another order",
        found=found,
        wanted="the same samples in the same order",
        fix="measure both on the same images: truefit evaluate RUN FOLDER",
    )


def _tails(paths: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Each path below the folder that all have in common."""
    parts = [PurePath(path).parts for path in paths]
    common = 0
    shortest = min(map(len, parts)) - 1
    while common < shortest and len({part[common] for part in parts}) == 1:
        common += 1
    return [part[common:] for part in parts]
