"""Counts and figures equal scikit-learn's and SciPy's on random cases, last short batch included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from truefit import Evaluation, accuracy, evaluate, load_data, rng, validate
from truefit.data.splits import hold_out
from truefit.metrics import measure_all, metric_names
from truefit.metrics.intervals import proportion, wilson


class Given(nn.Module):
    """Hands out the logits that came in as images."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def case(seed: int, samples: int, classes: int, used: int) -> tuple[np.ndarray, np.ndarray]:
    """Random logits and labels; only the first `used` classes occur, and some are never predicted."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(samples, classes)).astype(np.float32) * 3
    labels = draw.integers(0, used, samples)
    logits[:, draw.integers(classes)] -= 100  # never predicted
    hit = draw.random(samples) < 0.5
    logits[hit, labels[hit]] += 4
    return logits, labels


def evaluation(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    names = tuple(f"class {i}" for i in range(logits.shape[1]))
    return Evaluation.from_logits(logits, labels, classes=names, split="test")


cases = given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 60),
    classes=st.integers(2, 7),
    fraction=st.floats(0, 1),
)
relaxed = settings(deadline=None, max_examples=60)


@relaxed
@cases
@example(seed=0, samples=1, classes=2, fraction=0.0)
def test_counts_precision_recall_and_f1(seed: int, samples: int, classes: int, fraction: float) -> None:
    logits, labels = case(seed, samples, classes, max(1, round(fraction * classes)))
    found = evaluation(logits, labels)
    every, predicted = np.arange(classes), logits.argmax(axis=1)
    assert found.n == samples
    assert found.correct == metrics.accuracy_score(labels, predicted, normalize=False)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found.measures["confusion"] == metrics.confusion_matrix(labels, predicted, labels=every).tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    for row, *wanted in zip(found.measures["per_class"], precision, recall, f1, support, strict=True):
        figures = [math.nan if row[name] is None else row[name] for name in ("precision", "recall", "f1", "support")]
        assert figures == pytest.approx(wanted, nan_ok=True)
    chosen = [row["predicted"] for row in found.measures["per_class"]]
    assert chosen == np.bincount(predicted, minlength=classes).tolist()
    assert np.array_equal(found.predicted, predicted)
    assert np.array_equal(found.label, labels)


@relaxed
@cases
def test_the_loss_is_log_loss(seed: int, samples: int, classes: int, fraction: float) -> None:
    logits, labels = case(seed, samples, classes, max(1, round(fraction * classes)))
    # Kept away from probabilities of 0, which scikit-learn clips.
    logits = np.clip(logits, -8, 8)
    found = evaluation(logits, labels)
    exact = np.exp(logits.astype(np.float64))
    exact /= exact.sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(metrics.log_loss(labels, exact, labels=np.arange(classes)), rel=1e-9)
    assert np.allclose(found.probabilities, exact, atol=1e-6)
    assert found.probabilities.dtype == np.float32


def test_the_loss_of_a_confident_error_is_not_clipped() -> None:
    found = evaluation(np.array([[1000.0, 0.0], [0.0, 1000.0]], np.float32), np.array([1, 1]))
    assert found.loss == 500.0


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1), samples=st.integers(1, 40), classes=st.integers(2, 6), batch_size=st.integers(1, 16)
)
def test_all_doors_count_alike_whatever_the_batches(seed: int, samples: int, classes: int, batch_size: int) -> None:
    logits, labels = case(seed, samples, classes, classes)
    dataset = TensorDataset(torch.from_numpy(logits)[:, :, None, None], torch.from_numpy(labels))
    score = metrics.accuracy_score(labels, logits.argmax(axis=1))
    assert accuracy(Given(), dataset, batch_size=batch_size) == round(score, 3)
    found = evaluate(Given(), dataset, batch_size=batch_size)
    whole = evaluation(logits, labels)
    assert (found.n, found.correct, found.loss) == (samples, whole.correct, whole.loss)
    assert found.measures == whole.measures
    losses = validate(Given(), dataset, batch_size, nn.CrossEntropyLoss())
    sizes = [min(batch_size, samples - start) for start in range(0, samples, batch_size)]
    mean = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / samples
    assert mean == pytest.approx(whole.loss, rel=1e-5, abs=1e-6)


# --- intervals


@relaxed
@given(n=st.integers(1, 100_000), fraction=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@example(n=360, fraction=0.0, confidence=0.95)
@example(n=360, fraction=1.0, confidence=0.95)
@example(n=1, fraction=1.0, confidence=0.95)
def test_the_interval_is_wilsons(n: int, fraction: float, confidence: float) -> None:
    hits = round(fraction * n)
    low, high = wilson(hits, n, confidence)
    wanted = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert 0 <= low <= hits / n <= high <= 1


def test_at_no_hits_and_at_all_hits_the_bound_is_exact() -> None:
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0
    assert wilson(0, 50)[1] == pytest.approx(1 - wilson(50, 50)[0])


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (-1, 5), (6, 5), (0, 0)])
def test_what_is_no_proportion_has_no_interval(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(hits, n)


def test_intervals_of_a_class_are_those_of_its_counts() -> None:
    logits, labels = case(0, 50, 4, 3)
    measures = evaluation(logits, labels).measures
    confusion = np.array(measures["confusion"])
    for index, row in enumerate(measures["per_class"]):
        hits, support, chosen = (
            int(x) for x in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        assert row["recall_interval"] == (list(proportion(hits, support)) if support else None)
        assert row["precision_interval"] == (list(proportion(hits, chosen)) if chosen else None)


# --- calibration


def plain_calibration(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> tuple[float, list[dict[str, Any]]]:
    """Bins (low, high], the first with 0: one sample after the other."""
    held: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(probabilities, labels, strict=True):
        confidence = float(row.max())
        for at in range(bins):
            if confidence <= (at + 1) / bins or at == bins - 1:
                held[at].append((confidence, int(row.argmax()) == label))
                break
    error, curve = 0.0, []
    for at, samples in enumerate(held):
        if samples:
            confidence = sum(c for c, _ in samples) / len(samples)
            right = sum(r for _, r in samples) / len(samples)
            error += len(samples) / len(labels) * abs(confidence - right)
            curve.append({"low": at / bins, "n": len(samples), "confidence": confidence, "accuracy": right})
    return error, curve


@relaxed
@cases
def test_calibration_is_that_of_a_plain_count(seed: int, samples: int, classes: int, fraction: float) -> None:
    logits, labels = case(seed, samples, classes, max(1, round(fraction * classes)))
    exact = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    found = measure_all(exact, labels, exact.argmax(axis=1))["calibration"]
    error, curve = plain_calibration(exact, labels, found["bins"])
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-12)
    assert found["mean_confidence"] == pytest.approx(exact.max(axis=1).mean())
    assert [row["n"] for row in found["curve"]] == [row["n"] for row in curve]
    for row, wanted in zip(found["curve"], curve, strict=True):
        assert all(row[name] == pytest.approx(wanted[name]) for name in wanted)


def test_a_confidence_on_the_edge_belongs_to_the_bin_below() -> None:
    label = np.zeros(1, np.int64)
    for confidence, low in ((0.6, 8 / 15), (1.0, 14 / 15), (0.61, 9 / 15)):
        curve = measure_all(np.array([[confidence, 1 - confidence]]), label, label)["calibration"]["curve"]
        assert [row["low"] for row in curve] == [low]


def test_perfect_and_worst_calibration() -> None:
    sure = np.array([[1.0, 0.0]] * 4)
    right, wrong = np.zeros(4, np.int64), np.ones(4, np.int64)
    assert measure_all(sure, right, right)["calibration"]["expected_calibration_error"] == 0.0
    assert measure_all(sure, wrong, right)["calibration"]["expected_calibration_error"] == 1.0


def test_the_figures_are_found_by_their_files() -> None:
    assert {"calibration", "confusion", "per_class"} <= set(metric_names())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_an_error_that_names_the_samples(bad: float) -> None:
    logits, labels = case(0, 5, 3, 3)
    logits[3, 1] = bad
    with pytest.raises(ValueError, match="samples 3 of test"):
        evaluation(logits, labels)


def test_an_evaluation_prints_its_figure_with_interval_n_and_split() -> None:
    logits = np.eye(2, dtype=np.float32)[[0] * 354 + [1] * 6]
    found = evaluation(logits, np.zeros(360, np.int64))
    low, high = wilson(354, 360)
    assert str(found) == f"98.3 %  [{100 * low:.1f}, {100 * high:.1f}]  n = 360 (test)"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(4, 40), min_size=2, max_size=8), st.floats(0, 1), st.integers(0, 99))
def test_what_is_held_out_is_the_same_draw(counts: list[int], fraction: float, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    fewest, most = len(counts), len(labels) - 2 * len(counts)
    held = fewest + round(fraction * (most - fewest))
    state = rng.key("split", "test", seed) % 2**32
    wanted = train_test_split(np.arange(len(labels)), test_size=held, stratify=labels, random_state=state)[1]
    _, found = hold_out(labels, held, classes=list(map(str, counts)), split="test", split_seed=seed)
    # Small classes may have one more or less than the draw gave them, so that each is on both sides.
    if all(0 < (labels[wanted] == label).sum() < count for label, count in enumerate(counts)):
        assert found.tolist() == sorted(wanted.tolist())


def test_digits_are_those_of_scikit_learn() -> None:
    bunch = load_digits()
    data = load_data("digits", image_size=8, val_fraction=0)
    assert data.test is not None
    parts = (data.train, data.test)
    found = sorted((part.pixels[i, :, :, 0].tobytes(), int(part.labels[i])) for part in parts for i in range(len(part)))
    grey = np.round(bunch.images * 255 / 16).astype(np.uint8)
    assert found == sorted((image.tobytes(), int(label)) for image, label in zip(grey, bunch.target, strict=True))
