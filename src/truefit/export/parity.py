"""The proof: the exported file and the run, asked about the same images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.special import logit

from truefit.comparison.paired import difference_interval
from truefit.data.imageset import ImageSet
from truefit.export.program import Answer
from truefit.metrics.intervals import wilson
from truefit.predictor import NO_LABEL, Predictor
from truefit.runs.multi_label import given_labels

TOLERANCE = 1e-3
MAX_DROP = 0.01
LATENCY_ROUNDS = 30
# A batch beyond the first ones shows that its size is free.
SIZES = (1, 3)


@dataclass(frozen=True, kw_only=True)
class Differing:
    """An image for which the file gives another class. margin: between the run's two highest logits; where an
    image may have several labels, between a label's logit and its threshold, the largest of those that changed."""

    index: int
    path: str | None
    run: str
    exported: str
    margin: float


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What the comparison on n images of a split found. Figures of the run are in float32 on the CPU.

    exact: the class must be the same wherever the margin exceeds the tolerance, and no logit may differ by more than
    the tolerance; otherwise accuracy may fall by at most max_drop (0..1). differing: every image with another class,
    the largest margin first. correct, exported_correct: hits of n; None where there are no labels. only_run,
    only_exported: images that one alone gets right. latency_ms: of a batch of one image, median; images_per_second:
    over the whole pass.
    """

    target: str
    runtime: str
    exact: bool
    split: str
    n: int
    tolerance: float
    max_drop: float
    largest_difference: float
    differing: tuple[Differing, ...]
    correct: int
    exported_correct: int
    only_run: int
    only_exported: int
    latency_ms: dict[str, float]
    images_per_second: dict[str, float]
    bytes: int
    threads: int

    @property
    def change(self) -> float:
        """Accuracy of the file minus that of the run, -1..1."""
        return (self.exported_correct - self.correct) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The paired 95 % interval of `change`."""
        return difference_interval(self.only_run, self.only_exported, self.n)

    @property
    def failures(self) -> list[str]:
        """Why the file is not to be trusted; empty where it is."""
        # `not <=`, as nothing is known of NaN.
        if not np.isfinite(self.largest_difference):
            return ["the file gives logits that are not finite"]
        if not self.exact:
            if -self.change > self.max_drop:
                return [f"accuracy falls by {-100 * self.change:.2f} points, more than {100 * self.max_drop:g}"]
            return []
        found = []
        clear = [image for image in self.differing if image.margin > self.tolerance]
        if clear:
            found.append(
                f"another class for {len(clear):,} of {self.n:,} images whose margin exceeds {self.tolerance:g}"
            )
        if not self.largest_difference <= self.tolerance:
            found.append(f"logits differ by up to {self.largest_difference:.3g}, more than {self.tolerance:g}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values, with what follows from them."""
        low, high = self.interval
        return {
            **{name: value for name, value in vars(self).items() if name != "differing"},
            "largest_difference": self.largest_difference if np.isfinite(self.largest_difference) else None,
            "accuracy": self.correct / self.n,
            "interval": list(wilson(self.correct, self.n)),
            "exported_accuracy": self.exported_correct / self.n,
            "exported_interval": list(wilson(self.exported_correct, self.n)),
            "change": self.change,
            "change_interval": [low, high],
            "differing": [vars(image) for image in self.differing],
            "passed": not self.failures,
            "failures": self.failures,
        }


def compare_answers(
    predictor: Predictor,
    answer: Answer,
    images: ImageSet,
    *,
    target: str,
    runtime: str,
    exact: bool,
    tolerance: float,
    max_drop: float,
    size: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Parity:
    """Ask both about every image, in the same batches and by turns. size: bytes of the file."""

    def reference(batch: np.ndarray) -> np.ndarray:
        return predictor.logits(torch.from_numpy(batch)).numpy()

    step, n = predictor.settings.evaluation_batch_size, len(images)
    first = _read(images, range(min(n, max(SIZES))))
    for count in SIZES:
        # Warms both up, so that what a runtime does once is not timed; and shows that any batch size will do.
        reference(first[:count]), answer(first[:count])
    latency = _latency(reference, answer, first[:1])
    wanted: list[np.ndarray] = []
    given: list[np.ndarray] = []
    seconds = {"run": 0.0, "exported": 0.0}
    for start in range(0, n, step):
        batch = _read(images, range(start, min(start + step, n)))
        for name, ask, kept in (("run", reference, wanted), ("exported", answer, given)):
            begun = time.perf_counter()
            kept.append(ask(batch))
            seconds[name] += time.perf_counter() - begun
        if on_progress is not None:
            on_progress(start + len(batch), n)
    run, exported = np.concatenate(wanted), np.concatenate(given)
    thresholds = predictor.config.thresholds
    before, after = _decided(run, thresholds), _decided(exported, thresholds)
    labels = images.labels.reshape(n, -1)
    right, still_right = (before == labels).all(axis=1), (after == labels).all(axis=1)
    return Parity(
        target=target,
        runtime=runtime,
        exact=exact,
        split=images.split,
        n=n,
        tolerance=tolerance,
        max_drop=max_drop,
        largest_difference=float(np.abs(run - exported).max()),
        differing=_differing(run, before, after, images, thresholds),
        correct=int(right.sum()),
        exported_correct=int(still_right.sum()),
        only_run=int((right & ~still_right).sum()),
        only_exported=int((still_right & ~right).sum()),
        latency_ms=latency,
        images_per_second={name: round(n / spent, 1) for name, spent in seconds.items()},
        bytes=size,
        threads=predictor.settings.threads,
    )


def _read(images: ImageSet, rows: range) -> np.ndarray:
    return np.ascontiguousarray(images.read(rows).transpose(0, 3, 1, 2))


def _latency(reference: Answer, answer: Answer, one: np.ndarray) -> dict[str, float]:
    """Milliseconds for a batch of one image, by turns; the median."""
    seconds: dict[str, list[float]] = {"run": [], "exported": []}
    for _ in range(LATENCY_ROUNDS):
        for name, ask in (("run", reference), ("exported", answer)):
            begun = time.perf_counter()
            ask(one)
            seconds[name].append(time.perf_counter() - begun)
    return {name: round(1000 * median(spent), 3) for name, spent in seconds.items()}


def _decided(logits: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    """What is said of each image: its class (n, 1); where it may have several labels which it is given, (n, K)."""
    return given_labels(logits, thresholds)[0] if thresholds else logits.argmax(axis=1)[:, None]


def _differing(
    run: np.ndarray, before: np.ndarray, after: np.ndarray, images: ImageSet, thresholds: tuple[float, ...]
) -> tuple[Differing, ...]:
    changed = before != after
    rows = np.flatnonzero(changed.any(axis=1))
    if not len(rows):
        return ()
    if thresholds:
        # How far the farthest label that changed was from its threshold, in logits.
        margins = np.where(changed, np.abs(run - logit(np.asarray(thresholds))), 0).max(axis=1)[rows]
    else:
        highest = np.sort(run[rows], axis=1)
        margins = highest[:, -1] - highest[:, -2]

    def name(decided: np.ndarray) -> str:
        named = np.flatnonzero(decided) if thresholds else decided
        return ", ".join(images.classes[index] for index in named) or NO_LABEL

    found = [
        Differing(
            index=int(row),
            path=images.paths[row] if images.paths is not None else None,
            run=name(before[row]),
            exported=name(after[row]),
            margin=float(margin),
        )
        for row, margin in zip(rows, margins, strict=True)
    ]
    return tuple(sorted(found, key=lambda image: -image.margin))
