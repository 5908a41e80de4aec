"""The figures equal scikit-learn's and torchmetrics', and their intervals what they are said to be."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from truefit import Evaluation
from truefit.metrics import average_precision, measure_all, metric_names, roc_auc
from truefit.metrics.intervals import effective_wilson, mean_of_proportions, proportion, skewed_mean, wilson
from truefit.metrics.per_class import f1_interval
from truefit.metrics.top_k import ranks

relaxed = settings(deadline=None, max_examples=25)


def case(seed: int, samples: int = 80, classes: int = 7, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels, every class with samples."""
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(0, classes, samples - classes)])
    logits = draw.normal(size=(samples, classes))
    logits[np.arange(samples), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        probabilities = np.round(probabilities, 1)
    return probabilities, labels


def measured(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    return measure_all(probabilities, labels, probabilities.argmax(axis=1))


@relaxed
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(3, 12))
def test_top_k_balanced_accuracy_and_averages_are_scikit_learns(seed: int, classes: int) -> None:
    probabilities, labels = case(seed, classes=classes)
    found, predicted = measured(probabilities, labels), probabilities.argmax(axis=1)
    assert [row["k"] for row in found["top_k"]] == [k for k in (2, 3, 5, 10) if k < classes]
    for row in found["top_k"]:
        wanted = sk.top_k_accuracy_score(labels, probabilities, k=row["k"], labels=np.arange(classes))
        assert row["accuracy"] == pytest.approx(wanted)
        assert row["interval"] == list(proportion(row["correct"], len(labels)))
    assert found["balanced_accuracy"]["value"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    for name, average in (("macro_average", "macro"), ("weighted_average", "weighted")):
        every = np.unique(np.concatenate([labels, predicted]))
        if len(np.unique(predicted)) == len(every):
            wanted = sk.precision_recall_fscore_support(labels, predicted, average=average)[:3]
            assert [found[name][figure] for figure in ("precision", "recall", "f1")] == pytest.approx(wanted)


@relaxed
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_areas_are_scikit_learns_with_and_without_ties(seed: int, ties: bool) -> None:
    probabilities, labels = case(seed, ties=ties)
    found = measured(probabilities, labels)
    areas = [sk.roc_auc_score(labels == k, probabilities[:, k]) for k in range(7)]
    precisions = [sk.average_precision_score(labels == k, probabilities[:, k]) for k in range(7)]
    assert [row["value"] for row in found["roc_auc"]["per_class"]] == pytest.approx(areas)
    assert [row["value"] for row in found["average_precision"]["per_class"]] == pytest.approx(precisions)
    assert found["roc_auc"]["macro"]["value"] == pytest.approx(np.mean(areas))
    assert found["average_precision"]["macro"]["value"] == pytest.approx(np.mean(precisions))


def test_figures_are_torchmetrics() -> None:
    probabilities, labels = case(3, 400)
    found, predicted = measured(probabilities, labels), probabilities.argmax(axis=1)
    given, target = torch.from_numpy(probabilities), torch.from_numpy(labels)
    k = {"num_classes": 7}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = {
            "auc": tm.multiclass_auroc(given, target, **k),
            "ap": tm.multiclass_average_precision(given, target, **k),
            "balanced": tm.multiclass_recall(torch.from_numpy(predicted), target, **k),
            "macro": tm.multiclass_f1_score(given, target, average="macro", **k),
            "weighted": tm.multiclass_f1_score(given, target, average="weighted", **k),
            "top": tm.multiclass_accuracy(given, target, average="micro", top_k=3, **k),
            "ece": tm.multiclass_calibration_error(given, target, n_bins=15, norm="l1", **k),
        }
    have = {
        "auc": found["roc_auc"]["macro"]["value"],
        "ap": found["average_precision"]["macro"]["value"],
        "balanced": found["balanced_accuracy"]["value"],
        "macro": found["macro_average"]["f1"],
        "weighted": found["weighted_average"]["f1"],
        "top": found["top_k"][1]["accuracy"],
        "ece": found["calibration"]["expected_calibration_error"],
    }
    assert have == pytest.approx({name: float(value) for name, value in wanted.items()}, abs=1e-6)


def test_brier_score_and_likelihood_are_scikit_learns() -> None:
    probabilities, labels = case(1, 300, 2)
    found = Evaluation.from_logits(np.log(probabilities), labels, classes=("a", "b"), split="test")
    assert found.brier_score == pytest.approx(2 * sk.brier_score_loss(labels, probabilities[:, 1]), abs=1e-6)
    assert found.negative_log_likelihood == pytest.approx(sk.log_loss(labels, probabilities))
    low, high = found.measures["brier_score"]["interval"]
    assert low < found.brier_score < high
    assert found.loss_interval is not None
    assert found.loss_interval[0] < found.loss < found.loss_interval[1]


def test_a_class_without_samples_or_never_predicted_is_none() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1]])
    found = measured(probabilities, np.array([0, 0, 1, 1]))
    assert found["per_class"][2]["recall"] is found["per_class"][2]["f1_interval"] is None
    for name in ("roc_auc", "average_precision"):
        assert found[name]["per_class"][2] == {"value": None, "interval": None}
        assert found[name]["classes"] == 2
    assert found["balanced_accuracy"] == {**found["balanced_accuracy"], "value": 0.75, "classes": 2}
    assert found["macro_average"]["precision"] == pytest.approx((2 / 3 + 1) / 2)
    alone = measured(probabilities[:2], np.array([0, 0]))
    assert alone["roc_auc"]["macro"] == {"value": None, "interval": None}
    nothing = measured(probabilities[:2], np.array([2, 2]))
    assert nothing["weighted_average"]["precision"] is None
    assert nothing["balanced_accuracy"]["value"] == nothing["macro_average"]["f1"] == 0.0


def test_of_equal_probabilities_the_lower_index_comes_first_as_in_argmax() -> None:
    assert ranks(np.full((3, 3), 1 / 3), np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_area_has_the_variance_of_delong() -> None:
    draw = np.random.default_rng(0)
    own, others = np.sort(draw.normal(0.7, 1, 40)), draw.normal(size=60)
    value, of_own, of_others, most = roc_auc.area(own, others)
    wins = (own[:, None] > others) + (own[:, None] == others) / 2
    wanted = wins.mean(axis=1).var(ddof=1) / 40 + wins.mean(axis=0).var(ddof=1) / 60
    influence = np.concatenate([of_own, of_others])
    assert value == pytest.approx(wins.mean())
    assert float(influence @ influence) / 100**2 == pytest.approx(wanted)
    assert most == pytest.approx(2 * 2 * 40 * 60 / 100)


@pytest.mark.parametrize("figure", ["average_precision", "macro_average", "roc_auc"])
def test_interval_is_as_wide_as_that_of_a_bootstrap(figure: str) -> None:
    probabilities, labels = case(5, 1500, 4)
    draw = np.random.default_rng(0)

    def value(rows: np.ndarray) -> float:
        if figure == "macro_average":
            return sk.f1_score(labels[rows], probabilities[rows].argmax(axis=1), average="macro")
        score = sk.roc_auc_score if figure == "roc_auc" else sk.average_precision_score
        return score(labels[rows] == 0, probabilities[rows, 0])

    spread = np.std([value(draw.integers(0, 1500, 1500)) for _ in range(300)])
    found = measured(probabilities, labels)[figure]
    low, high = found["f1_interval"] if figure == "macro_average" else found["per_class"][0]["interval"]
    assert (high - low) / (2 * 1.96) == pytest.approx(spread, rel=0.15)


def test_influences_of_average_precision_are_its_derivatives() -> None:
    draw = np.random.default_rng(1)
    own, others = np.sort(draw.normal(1, 1, 12).round(1)), draw.normal(size=15).round(1)
    _, of_own, of_others, _ = average_precision.precision_mean(own, others)
    scores, truth = np.concatenate([own, others]), np.repeat([1, 0], [12, 15])
    for at, influence in enumerate(np.concatenate([of_own, of_others])):
        weight = np.ones(27)
        weight[at] += 1e-6
        moved = sk.average_precision_score(truth, scores, sample_weight=weight)
        slope = (moved - sk.average_precision_score(truth, scores)) / 1e-6
        assert influence / 27 == pytest.approx(slope, abs=1e-5)


def test_f1_interval_follows_from_that_of_its_proportion() -> None:
    low, high = f1_interval(40, 50, 60)
    shares = proportion(40, 70)
    assert (low / (2 - low), high / (2 - high)) == pytest.approx(shares)
    assert low < 80 / 110 < high
    assert f1_interval(0, 5, 0)[0] == 0.0
    assert f1_interval(5, 5, 5)[1] == 1.0


def test_modified_wilson_is_wider_only_where_few_are_hits_or_misses() -> None:
    assert proportion(30, 60) == wilson(30, 60)
    assert proportion(0, 60) == wilson(0, 60)
    # -log(0.95) is the Poisson bound for a single hit.
    assert proportion(1, 60)[0] == pytest.approx(-math.log(0.95) / 60)
    assert proportion(59, 60)[1] == pytest.approx(1 + math.log(0.95) / 60)


def test_the_mean_of_a_single_proportion_has_its_interval() -> None:
    alone = mean_of_proportions(np.array([7]), np.array([20]), np.array([1.0]))
    assert alone == pytest.approx(proportion(7, 20))
    assert effective_wilson(0.35, np.r_[np.full(7, 0.65), np.full(13, -0.35)], 20) == pytest.approx(wilson(7, 20))
    assert effective_wilson(1.0, np.zeros(20), 20) == pytest.approx(wilson(20, 20))


def test_the_interval_of_a_skewed_mean_reaches_further_to_the_long_side() -> None:
    skewed = np.random.default_rng(0).exponential(size=200)
    bounds = skewed_mean(skewed)
    assert bounds is not None
    assert bounds[1] - skewed.mean() > 1.05 * (skewed.mean() - bounds[0])
    even = np.repeat([0.0, 2.0], 50)
    assert skewed_mean(even) == pytest.approx(
        (1 - 1.96 * even.std(ddof=1) / 10, 1 + 1.96 * even.std(ddof=1) / 10), abs=1e-3
    )
    assert skewed_mean(np.ones(1)) is None
    assert skewed_mean(np.ones(5)) == (1.0, 1.0)


def test_figures_are_attributes_of_an_evaluation() -> None:
    probabilities, labels = case(2)
    found = Evaluation.from_logits(np.log(probabilities), labels, classes=tuple("abcdefg"), split="test")
    for name in metric_names():
        assert found.measures[name] == found.to_json()[name]
        if name not in ("balanced_accuracy", "brier_score"):
            assert getattr(found, name) == found.measures[name]
    assert found.balanced_accuracy == found.measures["balanced_accuracy"]["value"]
    assert found.expected_calibration_error == found.calibration["expected_calibration_error"]
    with pytest.raises(AttributeError, match="top_k"):
        _ = found.top_5


def test_figures_of_many_samples_are_quick() -> None:
    import time

    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(10), size=10_000)
    labels = draw.integers(0, 10, 10_000)
    start = time.process_time()
    measured(probabilities, labels)
    assert time.process_time() - start < 1.5
