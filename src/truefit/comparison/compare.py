"""`truefit.compare`: two or more models, or recipes, on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from truefit.comparison.paired import (
    AGRESTI_MIN,
    MCNEMAR,
    difference_interval,
    holm,
    mcnemar,
    samples_needed,
)
from truefit.comparison.seeds import METHOD, SeedComparison, compare_seeds
from truefit.comparison.sides import One, Side, check_same_samples, make_sides
from truefit.errors import InputError
from truefit.runs import words
from truefit.runs.folds import OUT_OF_FOLD

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Two sides, on n samples. All differences are B - A: `b` minus `a`.

    difference: of the accuracies, -1..1. interval: 95 %. p: two-sided. p_adjusted: by Holm for all pairs; p where
    there is one pair. only_a, only_b: the rows (indices) of samples that only A, only B gets right (of several seeds:
    that all of one side get right and all of the other wrong). samples_needed: about how many samples would show a
    difference of a point, None for recipes. per_class: name, n, difference, interval, p, p_adjusted (Holm, over
    classes); all None for a class without samples. seeds: the errors from seeds and samples; None where each
    side is a single model, and everything speaks of these two models.
    """

    a: Side
    b: Side
    difference: float
    interval: tuple[float, float]
    p: float
    p_adjusted: float
    pairs: int
    only_a: np.ndarray
    only_b: np.ndarray
    samples_needed: int | None
    per_class: list[dict[str, Any]]
    seeds: SeedComparison | None

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.a.evaluations[0].n

    def samples(self, side: Literal["only_a", "only_b"]) -> list[dict[str, Any]]:
        """The samples that only one side gets right: index, class (the true one), path (None without files)."""
        first = self.a.evaluations[0]
        return [
            {
                "index": int(first.index[row]),
                "class": first.classes[first.label[row]],
                "path": first.paths[row] if first.paths is not None else None,
            }
            for row in getattr(self, side)
        ]

    @property
    def better(self) -> str | None:
        """The letter of the better side where adjusted p < 0.05, else None."""
        if self.p_adjusted >= LEVEL:
            return None
        return self.b.letter if self.difference > 0 else self.a.letter

    @property
    def speaks_of(self) -> str:
        """What is compared: two models, the models of two cross-validations, or two recipes by their seeds."""
        if self.seeds is not None:
            return "the two recipes"
        pooled = self.a.evaluations[0].split == OUT_OF_FOLD
        return "the models of these folds" if pooled else "these two models"

    @property
    def verdict(self) -> str:
        """Such as `B is better: +2.1 points [1.2, 3.0], p = 0.0003, n = 10,000`."""
        a, b = self.a.letter, self.b.letter
        difference, (low, high) = self.difference, self.interval
        if self.better == a:
            difference, low, high = -difference, -high, -low
        p = p_text(self.p_adjusted) + (f" (Holm, {self.pairs} pairs)" if self.pairs > 1 else "")
        figures = f"{_points(difference)} points [{100 * low:.1f}, {100 * high:.1f}], {p}, n = {self.n:,}"
        if self.better is not None:
            text = f"{self.better} is better: {figures}"
        else:
            text = f"{a} and {b} are not distinguishable: {figures}"
            if self.samples_needed is not None:
                text += f"; to see a 1-point difference you need about n = {_rounded(self.samples_needed):,}"
        return text

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        single = self.seeds is None
        return {
            "a": self.a.letter,
            "b": self.b.letter,
            "n": self.n,
            "accuracy_a": self.a.accuracy,
            "accuracy_b": self.b.accuracy,
            "difference": self.difference,
            "interval": list(self.interval),
            "interval_method": AGRESTI_MIN if single else METHOD,
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "test": MCNEMAR if single else METHOD,
            "better": self.better,
            "only_a": len(self.only_a),
            "only_b": len(self.only_b),
            "samples_needed_for_1_point": self.samples_needed,
            "seeds": None
            if self.seeds is None
            else {
                "sd_a": self.seeds.sd_a,
                "sd_b": self.seeds.sd_b,
                "standard_error": self.seeds.error,
                "standard_error_seeds": self.seeds.seed_error,
                "standard_error_samples": self.seeds.sample_error,
                "degrees_of_freedom": self.seeds.degrees,
            },
            "speaks_of": self.speaks_of,
            "verdict": self.verdict,
            "per_class": self.per_class,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """All pairs of the sides. verified_by: how the samples are known to be the same, `contents` or `paths`."""

    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    verified_by: str

    @property
    def verdict(self) -> str:
        """A sentence a pair, on lines of their own."""
        return "\n".join(pair.verdict for pair in self.pairs)

    def __str__(self) -> str:
        """The sides with their figures, then the verdict, and of what it speaks."""
        return "\n".join([*map(str, self.sides), self.verdict, *self.remarks])

    def _repr_html_(self) -> str:
        """What a notebook shows: the same lines."""
        return words.lines_html(str(self))

    @property
    def remarks(self) -> list[str]:
        """What must be known to read the verdict rightly."""
        lines = []
        if any(side.evaluations[0].split == OUT_OF_FOLD for side in self.sides):
            lines.append(
                "This speaks of the models of these folds together, not of the recipes: each sample was judged by the "
                "model that never saw it, and what other seeds and folds would change is not counted (one "
                "cross-validation can't tell without bias: Bengio and Grandvalet 2004)."
            )
        elif any(pair.seeds is None for pair in self.pairs):
            models = "these two models" if len(self.sides) == 2 else "these models"
            lines.append(f"This speaks of {models}, not of the recipes: another seed is another model.")
        else:
            lines.append("This speaks of the recipes: it counts the differences between seeds and between samples.")
        for side in self.sides:
            first = side.evaluations[0]
            if first.label_of_selection:
                lines.append(f"{side.letter} was {first.label_of_selection}: its figure there is too high on average.")
        if self.verified_by == "paths":
            lines.append("The samples were matched by their files' names and labels; their pixels differ.")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "sides": [
                {
                    "letter": side.letter,
                    "name": side.name,
                    "accuracy": side.accuracy,
                    "evaluations": [
                        {
                            "split": evaluation.split,
                            "selected_on": evaluation.selected_on,
                            "weights": evaluation.weights,
                            "n": evaluation.n,
                            "correct": evaluation.correct,
                            "accuracy": evaluation.accuracy,
                            "interval": list(evaluation.interval),
                        }
                        for evaluation in side.evaluations
                    ],
                }
                for side in self.sides
            ],
            "same_samples_by": self.verified_by,
            "correction": "Holm" if len(self.pairs) > 1 else None,
            "pairs": [pair.to_json() for pair in self.pairs],
            "remarks": self.remarks,
        }


def compare(a: One | Sequence[One], b: One | Sequence[One], *more: One | Sequence[One]) -> Comparison:
    """Is one better than the other, on the same samples?

    Each side: an Evaluation, a Run, what `Trainer.fit_seeds` returns, or a path (a run folder, one of its
    evaluations/NAME, a saved Evaluation, a folder of seeds). A list of these is one side: a recipe by its seeds.
    A model a side: exact McNemar test and Agresti-Min interval of the difference. Several seeds on every side: the
    difference of the recipes, see `comparison.seeds.compare_seeds`. More than two sides: every pair, p-values
    adjusted by Holm.

    Raises InputError: samples that are not the same, in the same order, or are not known to be; classes in another
    order; files missing or changed; several seeds on one side and one on another.
    """
    sides = make_sides([a, b, *more])
    counts = {len(side.evaluations) == 1 for side in sides}
    if len(counts) > 1:
        raise InputError(
            "one side is a single model, another a recipe with several seeds",
            found=", ".join(f"{side.letter}: {len(side.evaluations)}" for side in sides),
            wanted="one model on every side, or two seeds or more on every side",
            fix="train the other with --seeds too, or name one seed's folder: FOLDER/seed-0",
        )
    verified_by = check_same_samples(sides)
    pairs = list(combinations(sides, 2))
    found = [_differ(left.right, right.right) for left, right in pairs]
    adjusted = holm([p for _, _, p, _ in found])
    return Comparison(
        sides=sides,
        pairs=tuple(
            _pair(left, right, figures, p_adjusted, len(pairs))
            for (left, right), figures, p_adjusted in zip(pairs, found, adjusted, strict=True)
        ),
        verified_by=verified_by,
    )


Figures = tuple[float, tuple[float, float], float, SeedComparison | None]


def _differ(a: np.ndarray, b: np.ndarray) -> Figures:
    """Difference, interval, p, and the part of the seeds; a and b: bool (seeds, n)."""
    if len(a) > 1:
        seeds = compare_seeds(a, b)
        return seeds.difference, seeds.interval, seeds.p, seeds
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), a.shape[1]
    return (only_b - only_a) / n, difference_interval(only_a, only_b, n), mcnemar(only_a, only_b), None


def _pair(left: Side, right: Side, figures: Figures, p_adjusted: float, pairs: int) -> Pair:
    difference, interval, p, seeds = figures
    a, b = left.right, right.right
    only_a = np.flatnonzero(a.all(axis=0) & ~b.any(axis=0))
    only_b = np.flatnonzero(b.all(axis=0) & ~a.any(axis=0))
    return Pair(
        a=left,
        b=right,
        difference=difference,
        interval=interval,
        p=p,
        p_adjusted=p_adjusted,
        pairs=pairs,
        only_a=only_a,
        only_b=only_b,
        samples_needed=samples_needed(len(only_a), len(only_b), a.shape[1]) if seeds is None else None,
        per_class=_per_class(left, right),
        seeds=seeds,
    )


def _per_class(left: Side, right: Side) -> list[dict[str, Any]]:
    """The difference of the recalls of each class."""
    first = left.evaluations[0]
    a, b = left.right, right.right
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(first.classes):
        members = np.flatnonzero(first.label == index)
        row: dict[str, Any] = dict.fromkeys(("class", "n", "difference", "interval", "p", "p_adjusted"))
        row |= {"class": name, "n": len(members)}
        if len(members):
            difference, interval, p, _ = _differ(a[:, members], b[:, members])
            row |= {"difference": difference, "interval": list(interval), "p": p}
        rows.append(row)
    tested = [row for row in rows if row["p"] is not None]
    for row, p_adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_adjusted"] = p_adjusted
    return rows


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def p_text(p: float) -> str:
    """Such as `p = 0.031`, `p < 0.0001`."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}" if p < 0.01 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _rounded(count: int) -> int:
    """To two digits: it is an estimate."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit
