"""A training repeated with several seeds: seed-0/, seed-1/... in one folder, and seeds.json with what they say."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from truefit.errors import InputError
from truefit.metrics.intervals import STUDENT, WILSON, student
from truefit.metrics.seed_variance import variance_components
from truefit.runs import words
from truefit.runs.evaluation import Evaluation
from truefit.runs.files import read_json, write_json

FILE = "seeds.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedRuns:
    """The evaluations of one recipe, trained once with each seed on the same splits.

    folder: where the runs lie, each under seed-SEED, or None. evaluations: by seed. mean, sd, lowest, highest: of
    the accuracies, 0..1; sd is the sample's, with n - 1 below, None for one seed. interval: 95 %, by Student's t over
    the seeds (their variance by `metrics.seed_variance`): where the mean accuracy of the recipe lies on these very
    test samples. sampling_interval: 95 %, where these models' mean accuracy lies on other test samples: mean +- t s /
    sqrt(n), s over the samples' mean hits; Wilson's for one seed, or where nothing varies.
    """

    folder: Path | None
    evaluations: dict[int, Evaluation]

    @property
    def accuracies(self) -> list[float]:
        """In the order of the seeds."""
        return [evaluation.accuracy for evaluation in self.evaluations.values()]

    @property
    def mean(self) -> float:
        """The mean accuracy, 0..1."""
        return float(np.mean(self.accuracies))

    @property
    def sd(self) -> float | None:
        """The standard deviation of the accuracies between seeds."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.evaluations) > 1 else None

    @property
    def lowest(self) -> float:
        """The lowest accuracy."""
        return min(self.accuracies)

    @property
    def highest(self) -> float:
        """The highest accuracy."""
        return max(self.accuracies)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Over the seeds, clipped to 0..1; None for one seed."""
        from scipy.special import stdtrit

        if len(self.evaluations) < 2:
            return None
        right = np.stack([evaluation.hits for evaluation in self.evaluations.values()])
        between, _ = variance_components(right)
        half = float(stdtrit(len(right) - 1, 0.975)) * math.sqrt(between)
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

    @property
    def sampling_interval(self) -> tuple[float, float]:
        """Over the test samples, clipped to 0..1."""
        return self._sampling()[0]

    def _sampling(self) -> tuple[tuple[float, float], str]:
        """The interval over samples, and its method."""
        every = list(self.evaluations.values())
        hits = np.mean([evaluation.hits for evaluation in every], axis=0)
        found = student(hits) if len(every) > 1 else None
        if found is None or found[0] == found[1]:
            return every[0].interval, WILSON
        return (max(0.0, found[0]), min(1.0, found[1])), STUDENT

    def _repr_html_(self) -> str:
        """What a notebook shows: each seed's figure, then all together."""
        return words.lines_html(
            "\n".join([*(f"seed {seed}: {of}" for seed, of in self.evaluations.items()), str(self)])
        )

    def __str__(self) -> str:
        """Such as `99.6 %  5 seeds: sd 0.2, 99.4 to 99.7, mean's interval [99.4, 99.7]  n = 360 (test)`."""
        first = next(iter(self.evaluations.values()))
        where = ", ".join(filter(None, [first.split, first.label_of_selection]))
        count = f"{len(self.evaluations)} seeds" if len(self.evaluations) > 1 else "1 seed"
        spread = ""
        if self.sd is not None and self.interval is not None:
            low, high = self.interval
            spread = (
                f": sd {100 * self.sd:.2f}, {100 * self.lowest:.1f} to {100 * self.highest:.1f}, "
                f"mean's interval over seeds [{100 * low:.1f}, {100 * high:.1f}]"
            )
        low, high = self.sampling_interval
        sampling = f"over test samples [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{100 * self.mean:.1f} %  {count}{spread}, {sampling}  n = {first.n:,} ({where})"

    def to_json(self) -> dict[str, Any]:
        """The figures, as they stand in seeds.json."""
        rows = []
        for seed, evaluation in self.evaluations.items():
            names = ("split", "selected_on", "weights", "n", "correct", "accuracy", "loss")
            figures = {name: getattr(evaluation, name) for name in names}
            rows.append({"seed": seed, "folder": folder_of(seed), **figures, "interval": list(evaluation.interval)})
        return {
            "seeds": list(self.evaluations),
            "mean_accuracy": self.mean,
            "sd": self.sd,
            "lowest": self.lowest,
            "highest": self.highest,
            "interval_over_seeds": list(self.interval) if self.interval is not None else None,
            "interval_over_seeds_method": STUDENT,
            "sampling_interval": list(self.sampling_interval),
            "sampling_interval_method": self._sampling()[1],
            "runs": rows,
        }

    def save(self, folder: Path) -> None:
        """Write seeds.json."""
        write_json(folder / FILE, self.to_json())


def folder_of(seed: int) -> str:
    """The name of a seed's run folder."""
    return f"seed-{seed}"


def is_seeds_folder(path: str | Path) -> bool:
    """Whether the folder holds repeated trainings."""
    return (Path(path) / FILE).is_file()


def load_seeds(path: str | Path) -> SeedRuns:
    """Read a folder that `truefit train --seeds` wrote, from the evaluations of its runs.

    InputError where a run that seeds.json names is missing, damaged or not the one that it was written with.
    """
    folder = Path(path)
    said = read_json(folder / FILE)
    try:
        rows = [(row["seed"], row["folder"], row["accuracy"], row["correct"]) for row in said["runs"]]
    except (KeyError, TypeError) as error:
        raise InputError("seeds.json is incomplete", where=folder, found=f"no usable {error}") from None
    if not rows or not all(isinstance(name, str) and re.fullmatch(r"seed-\d+", name) for _, name, _, _ in rows):
        raise InputError("seeds.json was changed", where=folder, wanted="runs named seed-0, seed-1...")
    evaluations = {}
    for seed, name, accuracy, correct in rows:
        evaluation = Evaluation.load(folder / name)
        if evaluation.correct != correct or not math.isclose(evaluation.accuracy, accuracy):
            raise InputError(
                "a run is not the one that seeds.json was written with",
                where=folder / name,
                found=f"{evaluation.correct} correct",
                wanted=correct,
                fix="the same truefit train --seeds command once more writes seeds.json anew",
            )
        evaluations[int(seed)] = evaluation
    return SeedRuns(folder=folder, evaluations=evaluations)
