"""An evaluation: what a network said about every sample of a split, and the figures that follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from truefit.errors import InputError, shorten
from truefit.metrics import calibration, measure_all, metric_names
from truefit.metrics.intervals import HALL, WILSON, skewed_mean, wilson
from truefit.runs import words
from truefit.runs.files import file_digest, read_arrays, read_json, write_arrays, write_json

MULTI_LABEL = "multi-label"
"""The `task` in evaluation.json where a sample may have several labels."""
NOT_FINITE = "the network's outputs are not finite"
"""What the error says where outputs are NaN or infinite."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluation:
    """Predictions for n samples, one row each, and every figure from them.

    split: which split was looked at. selected_on: the split on which the model was chosen (its epoch, temperature,
    thresholds; "validation and test" where both had a part), or None.
    weights: which weights these are, such as "best (epoch 7)" or "last (epoch 3), averaged over steps". looks: how
    often this run has looked at this split, this time included.
    averaging: what was averaged in each prediction ("none", "flip", "crops", "flip-crops").
    correct of n: hits. accuracy: correct / n. interval: its 95 % interval, low <= accuracy <= high: Wilson's, or
    another that `interval_method` names where the samples were not predicted by one model.
    loss: mean cross-entropy in nats, without smoothing or weights: the negative log-likelihood.
    temperature: what the logits were divided by. uncalibrated: loss and expected_calibration_error at temperature 1.
    measures: further figures by name, one for each file in truefit.metrics; each is an attribute too, such as
    `evaluation.per_class` or `evaluation.confusion`. They are computed from the rows below when first asked for.
    index, label, predicted: (n,) int64. probabilities: (n, K) float32. paths: (n,) where there are files.
    fingerprint: of the samples that were measured, in their order, where they can be told apart (see
    `ImageSet.fingerprint`); None where nothing is known of them.
    """

    split: str
    selected_on: str | None
    weights: str
    averaging: str
    looks: int
    classes: tuple[str, ...]
    correct: int
    loss: float
    index: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    paths: tuple[str, ...] | None = None
    fingerprint: str | None = None
    temperature: float = 1.0
    uncalibrated: dict[str, float] | None = None
    interval_method: str = WILSON
    interval_stated: tuple[float, float] | None = None

    @classmethod
    def from_logits(
        cls,
        logits: np.ndarray,
        labels: np.ndarray,
        *,
        classes: tuple[str, ...],
        split: str,
        selected_on: str | None = None,
        weights: str = "as given",
        averaging: str = "none",
        looks: int = 1,
        paths: tuple[str, ...] | None = None,
        fingerprint: str | None = None,
        temperature: float = 1.0,
    ) -> Evaluation:
        """From logits (n, K) at temperature 1 and labels (n,), in the order of the data set.

        InputError where there is no sample, or an output is not finite. The predicted class does not depend on the
        temperature, not even where two logits are so close that rounding makes their quotients equal.
        """
        from scipy.special import log_softmax

        if len(labels) == 0:
            raise InputError("there is nothing to evaluate", where=split, found="no samples", wanted="at least 1")
        rows = np.arange(len(labels))
        # A logit of -inf is legal (a class that is ruled out), but not for the class that is true.
        hopeless = logits[rows, labels] == -np.inf
        bad = np.flatnonzero(np.isnan(logits).any(axis=1) | (logits == np.inf).any(axis=1) | hopeless)
        refuse_not_finite(bad, len(logits), split)
        predicted = logits.argmax(axis=1)
        uncalibrated = None
        if temperature != 1:
            plain = log_softmax(logits.astype(np.float64), axis=1)
            uncalibrated = {
                "loss": math.fsum((-plain[rows, labels]).tolist()) / len(labels),
                "expected_calibration_error": calibration.expected_error(np.exp(plain), labels, predicted),
            }
        log_probabilities = log_softmax(logits.astype(np.float64) / temperature, axis=1)
        return cls(
            split=split,
            selected_on=selected_on,
            weights=weights,
            averaging=averaging,
            looks=looks,
            classes=classes,
            correct=int((predicted == labels).sum()),
            # fsum: exact, so the loss does not depend on the order or grouping of the sum.
            loss=math.fsum((-log_probabilities[rows, labels]).tolist()) / len(labels),
            index=rows,
            label=labels,
            predicted=predicted,
            probabilities=np.exp(log_probabilities).astype(np.float32),
            paths=paths,
            fingerprint=fingerprint,
            temperature=temperature,
            uncalibrated=uncalibrated,
        )

    @cached_property
    def measures(self) -> dict[str, Any]:
        """Every figure of truefit.metrics, by name, from the predictions alone."""
        return measure_all(self.probabilities.astype(np.float64), self.label, self.predicted)

    def __getattr__(self, name: str) -> Any:
        """A figure of truefit.metrics by its name, where it has no attribute of its own."""
        if name.startswith("_") or name not in self._figures():
            raise AttributeError(f"an evaluation has no {name!r}; its further figures: {', '.join(self._figures())}")
        return self.measures[name]

    def _figures(self) -> Sequence[str]:
        """The names in `measures`, known without computing any."""
        return metric_names()

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.label)

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several labels: a `runs.multi_label.MultiLabelEvaluation`."""
        return self.label.ndim == 2

    @property
    def hits(self) -> np.ndarray:
        """(n,) bool: which samples are right."""
        right: np.ndarray = self.predicted == self.label
        return right

    @property
    def sample_losses(self) -> np.ndarray:
        """(n,) float64: the loss of each sample, from the stored probabilities."""
        own = self.probabilities[np.arange(self.n), self.label].astype(np.float64)
        losses: np.ndarray = -np.log(np.maximum(own, 1e-45))
        return losses

    @property
    def accuracy(self) -> float:
        """correct / n, 0..1."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, by `interval_method`."""
        return self.interval_stated or wilson(self.correct, self.n)

    @property
    def loss_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the loss by Hall's transformation, in nats; None for a single sample.

        From the stored probabilities, which end at 1e-45: beyond about 103 nats a sample's loss counts as that.
        """
        bounds = skewed_mean(self.sample_losses)
        return None if bounds is None else (max(0.0, bounds[0]), bounds[1])

    @property
    def negative_log_likelihood(self) -> float:
        """The mean over samples, in nats: `loss` under its other name."""
        return self.loss

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have samples, 0..1; its interval: `measures["balanced_accuracy"]`."""
        return float(self.__getattr__("balanced_accuracy")["value"])

    @property
    def brier_score(self) -> float:
        """Mean squared distance of the probabilities to what is true, 0..2, lower is better."""
        return float(self.__getattr__("brier_score")["value"])

    @property
    def expected_calibration_error(self) -> float:
        """0..1, over 15 bins of confidence (see `calibration`)."""
        return float(self.__getattr__("calibration")["expected_calibration_error"])

    @property
    def label_of_selection(self) -> str:
        """`selected on SPLIT` where the model was chosen on the very split that is measured, else empty."""
        chosen_by = self.selected_on.split(" and ") if self.selected_on is not None else []
        return f"selected on {self.split}" if self.split in chosen_by else ""

    def __str__(self) -> str:
        """Such as `98.3 %  [97.0, 99.1]  n = 360 (test)`."""
        low, high = self.interval
        approximate = "approximate interval" if self.interval_stated is not None else ""
        where = ", ".join(filter(None, [self.split, self.label_of_selection, approximate]))
        return f"{self.accuracy:.1%}  [{100 * low:.1f}, {100 * high:.1f}]  n = {self.n:,} ({where})".replace(
            "%", " %", 1
        )

    def __repr__(self) -> str:
        """One line with everything that the figure must not be quoted without."""
        return f"<Evaluation {self}, weights: {self.weights}, looks: {self.looks}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return words.small_html(self, self.split)

    def to_json(self) -> dict[str, Any]:
        """The figures, as they stand in evaluation.json."""
        return {
            "split": self.split,
            "selected_on": self.selected_on,
            "label": self.label_of_selection or None,
            "weights": self.weights,
            "averaging": self.averaging,
            "n": self.n,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "interval_method": self.interval_method,
            "loss": self.loss,
            "loss_interval": list(self.loss_interval) if self.loss_interval is not None else None,
            "loss_interval_method": HALL,
            "temperature": self.temperature,
            "uncalibrated": self.uncalibrated,
            "looks": self.looks,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            **self.measures,
        }

    def save(self, folder: str | Path) -> None:
        """Write evaluation.json and predictions.npz into a folder, which is made where missing."""
        folder = Path(folder)
        arrays = {
            "index": self.index,
            "label": self.label,
            "predicted": self.predicted,
            "probabilities": self.probabilities,
        }
        if self.paths is not None:
            arrays["paths"] = np.array(self.paths, dtype=np.str_)
        # The figures last: where they stand, the predictions they come from stand too.
        write_arrays(folder / "predictions.npz", arrays)
        digest = {"predictions_digest": file_digest(folder / "predictions.npz")}
        write_json(folder / "evaluation.json", {**self.to_json(), **digest})

    @classmethod
    def load(cls, folder: str | Path) -> Evaluation:
        """Read what `save` wrote. InputError where a file is missing, damaged, or the two do not agree."""
        folder = Path(folder)
        figures = read_json(folder / "evaluation.json")
        arrays = read_arrays(folder / "predictions.npz")
        try:
            if figures["predictions_digest"] != file_digest(folder / "predictions.npz"):
                raise InputError(
                    "evaluation.json and predictions.npz do not belong together",
                    where=folder,
                    found="predictions of another evaluation, or changed ones",
                    wanted="the two files that were written together",
                )
            kind, more = _kind(figures)
            label, predicted = arrays["label"], arrays["predicted"]
            loaded: Evaluation = kind(
                split=figures["split"],
                selected_on=figures["selected_on"],
                weights=figures["weights"],
                averaging=figures["averaging"],
                looks=figures["looks"],
                classes=tuple(figures["classes"]),
                correct=int((predicted == label).reshape(len(label), -1).all(axis=1).sum()),
                loss=figures["loss"],
                index=arrays["index"],
                label=label,
                predicted=predicted,
                probabilities=arrays["probabilities"],
                paths=tuple(arrays["paths"].tolist()) if "paths" in arrays else None,
                fingerprint=figures.get("fingerprint"),
                temperature=figures["temperature"],
                uncalibrated=figures["uncalibrated"],
                interval_method=figures["interval_method"],
                interval_stated=_stated(figures),
                **more,
            )
            loaded._agree_with(figures, folder)
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise InputError("an evaluation is incomplete", where=folder, found=f"no usable {error}") from None
        return loaded

    def _agree_with(self, figures: dict[str, Any], folder: Path) -> None:
        """Raise InputError where evaluation.json says other figures than the predictions give."""
        if self.n == 0:
            raise InputError("an evaluation has no samples", where=folder, found="n = 0", wanted="at least 1")
        bad = np.flatnonzero(~((self.probabilities >= 0) & (self.probabilities <= 1 + 1e-6)).all(axis=1))
        if len(bad):
            raise InputError(
                "predictions.npz holds what is no probability",
                where=f"{folder}, samples {shorten(bad.tolist())}",
                found="NaN, or a value outside 0..1",
                wanted="probabilities",
                fix="measure the run once more: truefit evaluate RUN",
            )
        # Probabilities are stored in single precision, so the loss comes out to about six digits.
        losses = self.sample_losses
        loss = float(losses.mean())
        for name, said, found in (
            ("n", figures["n"], self.n),
            ("correct", figures["correct"], self.correct),
            ("accuracy", figures["accuracy"], self.accuracy),
            ("interval", figures["interval"], list(self.interval)),
            ("label", figures["label"], self.label_of_selection or None),
        ):
            if said != found:
                raise InputError(f"evaluation.json was changed: {name}", where=folder, found=said, wanted=found)
        if not math.isclose(figures["loss"], loss, rel_tol=1e-3, abs_tol=1e-4) and losses.max() < 69:
            raise InputError("evaluation.json was changed: loss", where=folder, found=figures["loss"], wanted=loss)


def _kind(figures: dict[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """The class of an evaluation, and what it has beside the others' fields."""
    if figures.get("task") != MULTI_LABEL:
        return Evaluation, {}
    from truefit.runs.multi_label import MultiLabelEvaluation

    return MultiLabelEvaluation, {"thresholds": tuple(figures["thresholds"])}


def refuse_not_finite(bad: np.ndarray, samples: int, split: str) -> None:
    """Raise InputError where `bad`, the numbers of samples whose outputs are not finite, names any."""
    if len(bad):
        raise InputError(
            NOT_FINITE,
            where=f"samples {shorten(bad.tolist())} of {split}",
            found=f"NaN or inf for {len(bad)} of {samples} samples",
            wanted="finite logits",
            fix="look for NaN or inf in these images, and in the weights",
        )


def _stated(figures: dict[str, Any]) -> tuple[float, float] | None:
    """The interval where it is not Wilson's, which follows from the counts."""
    if figures["interval_method"] == WILSON:
        return None
    low, high = figures["interval"]
    return low, high
