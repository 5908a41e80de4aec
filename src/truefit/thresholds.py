"""From which probability on is a label given? One threshold a label, fixed on the split that chooses (validation)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import Dataset

from truefit.data.imageset import ImageSet
from truefit.events import Observer, nobody
from truefit.measure import evaluate_predictor
from truefit.metrics.multi_label import best_thresholds, measure_labels
from truefit.predictor import Predictor, PredictorConfig
from truefit.runs.multi_label import MultiLabelEvaluation


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What was found on the n samples of a split: the threshold of each label with the highest F1 there.

    before, after: mean F1 over labels at 0.5 and at the thresholds; the latter is selected on this very split.
    """

    split: str
    n: int
    thresholds: tuple[float, ...]
    before: float | None
    after: float | None

    def applied(self, config: PredictorConfig) -> PredictorConfig:
        """The predictor's settings with the thresholds."""
        return replace(config, thresholds=self.thresholds)

    def __str__(self) -> str:
        low, high = min(self.thresholds), max(self.thresholds)
        figures = (
            "" if self.before is None or self.after is None else f": mean F1 {self.before:.3f} -> {self.after:.3f}"
        )
        return (
            f"thresholds of the {len(self.thresholds)} labels, from {low:.3f} to {high:.3f}{figures}, "
            f"n = {self.n:,} ({self.split}, selected on {self.split})"
        )


def choose_thresholds(
    predictor: Predictor, dataset: Dataset[Any] | ImageSet, *, split: str, by: str, observe: Observer = nobody
) -> Thresholds:
    """Choose them in one pass, and note in the ledger that this split chose them.

    by: names a look that counts once, however often it was broken off and done again.
    """
    evaluation = evaluate_predictor(predictor, dataset, split=split, observe=observe)
    assert isinstance(evaluation, MultiLabelEvaluation)
    probabilities, labels = evaluation.probabilities, evaluation.label
    thresholds = best_thresholds(probabilities, labels)
    given = (probabilities >= thresholds).astype(labels.dtype)
    if not predictor.ledger.looks(split, by=by):
        predictor.ledger.look(
            split,
            by=by,
            chose=("thresholds",),
            n=evaluation.n,
            fingerprint=dataset.fingerprint() if isinstance(dataset, ImageSet) else None,
        )
    return Thresholds(
        split=split,
        n=evaluation.n,
        thresholds=thresholds,
        before=evaluation.measures["macro_average"]["f1"],
        after=measure_labels(probabilities, labels, given)["macro_average"]["f1"],
    )
