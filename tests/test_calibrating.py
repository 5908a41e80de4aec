"""Temperature, thresholds, risk over coverage: formulas against other ways to compute them, and their promises."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from helpers import image_set, tiny_network
from truefit import InputError, Recipe, Trainer, load
from truefit.calibrating import calibrate_logits
from truefit.metrics import risk_coverage
from truefit.metrics.selective import find_guarantee, guarantee, lower_bound
from truefit.metrics.temperature import cross_entropy, fit_temperature
from truefit.recipes.recipe import OptimizerConfig
from truefit.runs.evaluation import Evaluation


def drawn(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too sure by a factor: labels are drawn from softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n, 5)) * temperature
    noise = random.gumbel(size=(n, 5))
    return logits.astype(np.float32), (logits / temperature + noise).argmax(axis=1)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true):
    logits, labels = drawn(20000, true)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(true, rel=0.03)
    losses = [cross_entropy(logits / t, labels) for t in (found * 0.97, found, found * 1.03)]
    assert losses[1] == min(losses)


def test_calibration_lowers_loss_and_error_and_keeps_every_class():
    logits, labels = drawn(5000, 3.0)
    found = calibrate_logits(logits, labels, split="validation")
    assert found.after["loss"] < found.before["loss"]
    assert found.after["expected_calibration_error"] < found.before["expected_calibration_error"] / 2
    before = Evaluation.from_logits(logits, labels, classes=tuple("abcde"), split="test")
    after = Evaluation.from_logits(logits, labels, classes=tuple("abcde"), split="test", temperature=found.temperature)
    assert (before.predicted == after.predicted).all()
    assert after.uncalibrated["loss"] == before.loss
    assert after.loss == pytest.approx(found.after["loss"])


def test_it_is_said_where_the_calibration_error_did_not_fall():
    logits, labels = drawn(5000, 3.0)
    found = calibrate_logits(logits, labels, split="validation")
    assert "no better" not in str(found)
    worse = replace(found, after={**found.after, "expected_calibration_error": 0.9})
    assert "-> 90.0% (no better: the loss decides), loss" in str(worse)


def test_two_logits_next_to_each_other_keep_their_order():
    # Just below 2, divided by little more than 1, the quotients of neighbours in float32 are often equal.
    low = np.random.default_rng(0).uniform(1.8, 1.99, 500).astype(np.float32)
    logits = np.stack([low, np.nextafter(low, np.float32(2))], axis=1)
    scaled = logits / np.float32(1.1)
    assert (scaled[:, 0] == scaled[:, 1]).any()
    found = Evaluation.from_logits(logits, np.ones(500, np.int64), classes=("a", "b"), split="x", temperature=1.1)
    assert (found.predicted == 1).all()


def test_lower_bound_is_that_of_the_exact_binomial_test():
    for correct, n in ((90, 100), (1, 7), (50, 50)):
        wanted = binomtest(correct, n, alternative="greater").proportion_ci(0.95, "exact").low
        assert lower_bound(correct, n, 0.05) == pytest.approx(wanted)
    assert lower_bound(0, 5, 0.05) == 0


def test_the_promised_accuracy_holds_as_often_as_is_said():
    random = np.random.default_rng(0)
    broken, used = 0, 0
    for _ in range(300):
        confidence = random.uniform(0.5, 1, 1000)
        found = guarantee(confidence, random.uniform(size=1000) < confidence, 0.85)
        if found.threshold is None:
            continue
        used += 1
        # Above a threshold t the true accuracy is the mean of a uniform confidence there.
        broken += (found.threshold + 1) / 2 < 0.85
        assert found.answered == (confidence.astype(np.float32) >= np.float32(found.threshold)).sum()
    assert used > 250
    assert broken / used <= 0.05


def test_no_threshold_where_the_samples_cannot_support_it():
    confidence = np.linspace(0.5, 1, 20)
    found = guarantee(confidence, np.ones(20, bool), 0.99)
    assert found.threshold is None
    with pytest.raises(InputError, match="no threshold promises"):
        find_guarantee([found], 0.99)
    with pytest.raises(InputError, match="has no thresholds"):
        find_guarantee([], 0.99)


def test_a_stored_threshold_for_more_serves_for_less():
    confidence, right = np.linspace(0.5, 1, 2000), np.ones(2000, bool)
    known = [guarantee(confidence, right, wanted) for wanted in (0.9, 0.95)]
    assert find_guarantee(known, 0.92) is known[1]


def test_area_under_risk_coverage_by_definition():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.ones(4), 60)
    labels, predicted = random.integers(4, size=60), probabilities.argmax(axis=1)
    found = risk_coverage.measure(probabilities, labels, predicted)
    order = np.argsort(-probabilities.max(axis=1))
    wrong = (labels != predicted)[order]
    risks = [wrong[: k + 1].mean() for k in range(60)]
    assert found["area"] == pytest.approx(np.mean(risks))
    assert found["curve"][-1] == pytest.approx(
        {"coverage": 1, "risk": wrong.mean(), "confidence": probabilities.max(1).min()}
    )
    assert found["area_of_perfect_order"] <= found["area"]


def test_equal_confidences_do_not_depend_on_their_order():
    probabilities = np.tile([0.7, 0.3], (4, 1))
    predicted = np.zeros(4, np.int64)
    areas = [
        risk_coverage.measure(probabilities, np.array(labels), predicted)["area"]
        for labels in ([1, 0, 0, 0], [0, 0, 0, 1])
    ]
    assert areas == pytest.approx([0.25, 0.25])


def test_a_calibrated_run_loads_predicts_and_says_not_sure(tmp_path):
    recipe = Recipe(epochs=6, batch_size=8, optimizer=OptimizerConfig(name="adam", lr=1e-2))
    train, validation, test = image_set(300, seed=1), image_set(600, seed=2), image_set(40, seed=3)
    made = Trainer(tiny_network(), recipe, device="cpu", calibrate=True).fit(
        train, validation, test_set=test, out=tmp_path / "run"
    )
    run = load(tmp_path / "run", network=tiny_network(), device="cpu")
    temperature = run.predictor.config.temperature
    assert temperature == made.predictor.config.temperature != 1
    assert run.evaluation.temperature == temperature
    assert set(run.evaluation.uncalibrated) == {"loss", "expected_calibration_error"}
    assert json.loads((tmp_path / "run/model/model.json").read_text())["calibration"]["split"] == "validation"
    tensors = test.tensors[0]
    wanted = run.predictor.config.sure[0].accuracy
    if run.predictor.config.sure[0].threshold is None:
        pytest.fail("the network should have learnt enough for a threshold")
    answers = run.predict(tensors, sure=wanted)
    for one in answers:
        assert one.sure == (np.float32(one.probability) >= np.float32(answers.guarantee.threshold))
        assert one.answer == (one.predicted if one.sure else "not sure")
    assert {one.sure for one in run.predict(tensors)} == {None}
    # A temperature that was changed by hand is found by the golden batch.
    path = tmp_path / "run/model/model.json"
    changed = json.loads(path.read_text())
    changed["predictor"]["temperature"] = 2 * temperature
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="does not give the outputs"):
        load(tmp_path / "run", network=tiny_network())
