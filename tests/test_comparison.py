"""Comparing evaluations: the same samples, exact tests, intervals, several pairs, several seeds."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

import truefit
from helpers import Augmented, image_set, tiny_network
from truefit import Evaluation, InputError, compare
from truefit.comparison.paired import difference_interval, holm, mcnemar, samples_needed
from truefit.comparison.seeds import compare_seeds
from truefit.data.watched import Watched
from truefit.metrics.seed_variance import variance_components
from truefit.runs.files import file_digest

CLASSES = ("a", "b", "c")


def evaluation(right: np.ndarray, *, labels: np.ndarray | None = None, **more) -> Evaluation:
    """An evaluation that is right where it is said; more than one call differs in the last digits."""
    labels = np.arange(len(right)) % 3 if labels is None else labels
    logits = np.zeros((len(right), 3), np.float32)
    logits[np.arange(len(right)), np.where(right, labels, (labels + 1) % 3)] = 2 + right.sum() / 1000
    more = {"classes": CLASSES, "split": "test", "fingerprint": "x", **more}
    return Evaluation.from_logits(logits, labels, **more)


def hits(n: int, *wrong: int) -> np.ndarray:
    right = np.ones(n, bool)
    right[list(wrong)] = False
    return right


# The figures


@settings(deadline=None, max_examples=60)
@given(b=st.integers(0, 70), c=st.integers(0, 70))
def test_mcnemar_is_the_sum_of_the_binomial(b: int, c: int) -> None:
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail))


@settings(deadline=None, max_examples=60)
@given(b=st.integers(0, 50), c=st.integers(0, 50), rest=st.integers(0, 500))
def test_difference_interval_holds_the_difference_and_is_antisymmetric(b: int, c: int, rest: int) -> None:
    n = b + c + rest + 1
    low, high = difference_interval(b, c, n)
    assert -1 <= low <= (c - b) / n <= high <= 1
    assert low < high
    assert difference_interval(c, b, n) == pytest.approx((-high, -low))


def test_difference_interval_is_that_of_agresti_and_min() -> None:
    # n + 2 = 102, 12.5 and 4.5: 8 / 102 -+ 1.96 sqrt(17 - 64 / 102) / 102
    assert difference_interval(4, 12, 100) == pytest.approx((0.000680, 0.156182), abs=1e-6)


def test_holm_multiplies_by_what_is_left_and_stays_in_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


def test_samples_needed_give_the_power_that_is_said() -> None:
    n = samples_needed(600, 500, 10_000)
    draw = np.random.default_rng(0)
    draws = draw.multinomial(n, [0.05, 0.06, 0.89], size=400)
    assert np.mean([mcnemar(int(b), int(c)) < 0.05 for b, c, _ in draws]) == pytest.approx(0.8, abs=0.07)
    assert samples_needed(0, 0, 100) >= 100


# Verdicts


def test_better_side_is_named_with_points_interval_p_and_n() -> None:
    a, b = evaluation(hits(900, *range(60))), evaluation(hits(900, *range(20)))
    found = compare(a, b)
    assert found.pairs[0].verdict.startswith("B is better: +4.4 points [")
    assert found.pairs[0].verdict.endswith("p < 0.0001, n = 900")
    turned = compare(b, a).pairs[0]
    assert turned.verdict == found.pairs[0].verdict.replace("B is", "A is")
    assert turned.difference == -found.pairs[0].difference
    assert "these two models, not of the recipes" in str(found)


def test_what_is_not_distinguishable_says_how_many_samples_it_takes() -> None:
    found = compare(evaluation(hits(300, 1, 2, 3)), evaluation(hits(300, 4, 5))).pairs[0]
    assert found.better is None
    assert found.verdict.startswith("A and B are not distinguishable: +0.3 points [")
    assert f"n = {-(-found.samples_needed // 10) * 10:,}"[:6] in found.verdict.partition("1-point")[2]
    assert (found.only_a.tolist(), found.only_b.tolist()) == ([4, 5], [1, 2, 3])


def test_samples_of_one_side_are_named_by_index_class_and_path() -> None:
    paths = tuple(f"/p/{i}.png" for i in range(30))
    found = compare(evaluation(hits(30, 1), paths=paths), evaluation(hits(30, 5), paths=paths)).pairs[0]
    assert found.samples("only_b") == [{"index": 1, "class": "b", "path": "/p/1.png"}]
    assert found.samples("only_a") == [{"index": 5, "class": "c", "path": "/p/5.png"}]


def test_more_than_two_sides_are_compared_in_pairs_with_holm() -> None:
    found = compare(*(evaluation(hits(300, *range(wrong))) for wrong in (0, 7, 30)))
    assert [(pair.a.letter, pair.b.letter) for pair in found.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert [pair.p_adjusted for pair in found.pairs] == pytest.approx(holm([pair.p for pair in found.pairs]))
    assert all("(Holm, 3 pairs)" in pair.verdict for pair in found.pairs)
    assert found.to_json()["correction"] == "Holm"
    assert json.dumps(found.to_json(), allow_nan=False)


def test_classes_are_compared_and_one_without_samples_is_none() -> None:
    labels = np.arange(300) % 2
    first = evaluation(hits(300, *range(0, 60, 2)), labels=labels)
    rows = compare(first, evaluation(hits(300), labels=labels)).pairs[0].per_class
    assert [row["n"] for row in rows] == [150, 150, 0]
    assert rows[0]["difference"] == pytest.approx(0.2)
    assert rows[0]["p_adjusted"] == pytest.approx(2 * rows[0]["p"])
    assert rows[1]["p"] == 1.0
    assert all(rows[2][name] is None for name in ("difference", "interval", "p", "p_adjusted"))


def test_figure_that_was_selected_on_its_split_is_labelled() -> None:
    chosen = evaluation(hits(30, 1), split="validation", selected_on="validation")
    text = str(compare(chosen, replace(evaluation(hits(30, 2)), split="validation")))
    assert "A: evaluation A  96.7 %" in text
    assert "A was selected on validation: its figure there is too high" in text
    assert "B was" not in text


# The same samples


def test_other_samples_are_an_error() -> None:
    a = evaluation(hits(30, 1))
    labels = np.arange(30)[::-1] % 3
    for other, message in (
        (evaluation(hits(31, 2)), "different samples"),
        (evaluation(hits(30, 2), fingerprint="y"), "other images"),
        (evaluation(hits(30, 2), labels=labels, fingerprint="y"), "of 30 labels differ"),
        (evaluation(hits(30, 2), fingerprint=None), "is not known"),
        (evaluation(hits(30, 2), classes=("b", "a", "c")), "classes in another order"),
        (evaluation(hits(30, 2), classes=("a", "b", "d")), "other classes"),
    ):
        with pytest.raises(InputError, match=message):
            compare(a, other)


def test_files_that_moved_as_a_whole_are_the_same_and_others_are_not() -> None:
    def at(root: str, order: list[int], fingerprint: str) -> Evaluation:
        paths = tuple(f"{root}/{i % 3}/{i}.png" for i in order)
        return evaluation(hits(30, 1), paths=paths, fingerprint=fingerprint)

    same = list(range(30))
    found = compare(at("/here/data", same, "32 pixels"), at("/there", same, "64 pixels"))
    assert found.verified_by == "paths"
    assert "matched by their files' names" in str(found)
    swapped = [3, 1, 2, 0, *same[4:]]
    with pytest.raises(InputError, match="2 of 30 files differ"):
        compare(at("/here", same, "x"), at("/here", swapped, "y"))


def test_what_cannot_be_compared_is_an_error(tmp_path) -> None:
    good = evaluation(hits(30, 1))
    broken = replace(good, probabilities=np.where(np.arange(30)[:, None] == 4, np.nan, good.probabilities))
    empty = replace(
        good, **{name: getattr(good, name)[:0] for name in ("index", "label", "predicted", "probabilities")}
    )
    for other, message in (
        (broken, "NaN"),
        (empty, "no samples"),
        (tmp_path / "none", "no such run"),
        (3, "can't be compared"),
        ([], "is empty"),
        ([good, good], "same model twice"),
        ([good, evaluation(hits(30, 1, 2))], "one side is a single model"),
    ):
        with pytest.raises(InputError, match=message):
            compare(good, other)


def test_missing_edited_and_damaged_predictions_are_errors(tmp_path) -> None:
    evaluation(hits(30, 1)).save(tmp_path / "a")
    evaluation(hits(30, 1, 2)).save(tmp_path / "b")
    assert compare(tmp_path / "a", tmp_path / "b").pairs[0].n == 30
    (tmp_path / "b" / "predictions.npz").unlink()
    with pytest.raises(InputError, match=r"predictions\.npz is missing"):
        compare(tmp_path / "a", tmp_path / "b")
    shutil.copy(tmp_path / "a" / "predictions.npz", tmp_path / "b")
    with pytest.raises(InputError, match="do not belong together"):
        compare(tmp_path / "a", tmp_path / "b")
    evaluation(hits(30, 1)).save(tmp_path / "c")
    with np.load(tmp_path / "c" / "predictions.npz") as file:
        rows = dict(file)
    rows["probabilities"][4] = np.nan
    np.savez(tmp_path / "c" / "predictions.npz", **rows)
    figures = json.loads((tmp_path / "c" / "evaluation.json").read_text())
    figures["predictions_digest"] = file_digest(tmp_path / "c" / "predictions.npz")
    (tmp_path / "c" / "evaluation.json").write_text(json.dumps(figures))
    with pytest.raises(InputError, match="no probability"):
        Evaluation.load(tmp_path / "c")


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluation(np.zeros(0, bool))


def test_samples_of_any_data_set_are_told_by_what_the_network_saw() -> None:
    data = image_set(20)
    one, two = (truefit.evaluate(tiny_network(seed), data, split="test", batch_size=7 + seed) for seed in (0, 1))
    assert one.fingerprint == two.fingerprint is not None
    assert compare(one, two).verified_by == "contents"
    other = truefit.evaluate(tiny_network(0), image_set(20, seed=1), split="test")
    assert other.fingerprint != one.fingerprint
    moved = torch.utils.data.Subset(data, list(range(19, -1, -1)))
    assert truefit.evaluate(tiny_network(0), moved, split="test").fingerprint != one.fingerprint
    assert truefit.evaluate(tiny_network(0), Augmented(data), split="test").fingerprint != one.fingerprint


def test_watching_batches_changes_none_of_them() -> None:
    from truefit.data.batches import make_batches

    batches = make_batches(image_set(10), batch_size=4, device=torch.device("cpu"), role="x")
    watched = Watched(batches)
    assert (watched.samples, watched.steps, watched.batch_size) == (10, 3, 4)
    assert watched.indices(0, 1) == batches.indices(0, 1)
    for handed, plain in zip(watched.epoch(0), batches.epoch(0), strict=True):
        assert torch.equal(handed.images, plain.images)
    first = watched.fingerprint()
    list(watched.epoch(0))
    assert watched.fingerprint() == first


# Several seeds


def seeds_of(draw: np.random.Generator, seeds: int, n: int, mean: float, sd: float, samples: np.ndarray) -> np.ndarray:
    return mean + sd * draw.normal(size=(seeds, 1)) + samples + 0.5 * draw.normal(size=(seeds, n)) > 0


def test_with_certain_samples_the_seeds_are_compared_by_welch() -> None:
    # Every sample's share of hits is the same in both: only the seeds differ.
    draw = np.random.default_rng(0)
    right = [draw.random((seeds, 200_000)) < (0.8 + 0.02 * draw.normal(size=(seeds, 1))) for seeds in (4, 6)]
    found = compare_seeds(*right)
    wanted = ttest_ind(right[1].mean(axis=1), right[0].mean(axis=1), equal_var=False)
    assert found.p == pytest.approx(wanted.pvalue, rel=0.02)
    assert found.interval == pytest.approx(wanted.confidence_interval(), abs=5e-4)


def test_error_is_that_of_repeating_everything() -> None:
    draw = np.random.default_rng(0)
    differences, errors = [], []
    for _ in range(400):
        # What is hard for one recipe need not be for the other: both parts of the error count.
        common = 0.7 * draw.normal(size=400)
        a, b = (seeds_of(draw, 4, 400, 1.0, 0.1, common + 0.7 * draw.normal(size=400)) for _ in range(2))
        found = compare_seeds(a, b)
        differences.append(found.difference)
        errors.append(found.error**2)
    assert math.sqrt(np.mean(errors)) == pytest.approx(np.std(differences), rel=0.12)


def test_equal_accuracies_of_two_seeds_do_not_make_them_certain() -> None:
    right = np.zeros((2, 100), bool)
    right[0, :80] = right[1, 20:] = True
    between, rest = variance_components(right)
    assert between == rest > 0


def test_recipes_get_a_verdict_of_recipes() -> None:
    draw = np.random.default_rng(1)
    samples = draw.normal(size=600)
    a, b = ([evaluation(row) for row in seeds_of(draw, 3, 600, mean, 0.05, samples)] for mean in (0.5, 1.5))
    found = compare(a, b)
    assert found.pairs[0].better == "B"
    assert found.pairs[0].seeds is not None
    assert found.pairs[0].samples_needed is None
    assert "speaks of the recipes" in str(found)
    assert "on average of 3 seeds" in str(found)
    assert json.dumps(found.to_json(), allow_nan=False)
