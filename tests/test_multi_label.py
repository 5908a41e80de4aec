"""Any number of labels for an image: loss, figures, thresholds, and the way through the trainer and a run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from helpers import tiny_network
from truefit import Trainer, compare, evaluate, load
from truefit.data.batch import Batch
from truefit.data.imageset import Data, ImageSet
from truefit.errors import InputError
from truefit.metrics.intervals import wilson
from truefit.metrics.multi_label import best_thresholds
from truefit.runs.evaluation import Evaluation
from truefit.runs.multi_label import MultiLabelEvaluation
from truefit.tasks.multi_label import MultiLabel

CLASSES = ("red", "green", "blue")


def logits_and_labels(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = (draw.random((n, 3)) < [0.5, 0.2, 0.05]).astype(np.int64)
    return (draw.normal(0, 1.5, (n, 3)) + 2 * labels - 1.5).astype(np.float32), labels


def evaluation(**changes: Any) -> MultiLabelEvaluation:
    logits, labels = logits_and_labels()
    about: dict[str, Any] = {"thresholds": (0.5, 0.4, 0.3), "classes": CLASSES, "split": "test", **changes}
    return MultiLabelEvaluation.from_label_logits(logits, labels, **about)


def images(split: str, n: int, seed: int) -> ImageSet:
    """Each label brightens its channel."""
    draw = np.random.default_rng(seed)
    labels = (draw.random((n, 3)) < 0.4).astype(np.int64)
    pixels = draw.integers(0, 60, (n, 24, 24, 3)) + 120 * labels[:, None, None, :]
    return ImageSet(split=split, classes=CLASSES, labels=labels, pixels=pixels.astype(np.uint8), image_size=24)


@pytest.fixture(scope="module")
def data() -> Data:
    parts = {
        name: images(name, n, seed) for seed, (name, n) in enumerate((("train", 160), ("validation", 60), ("test", 60)))
    }
    return Data(name="colours", spec="colours", mirror=True, **parts)


@pytest.fixture(scope="module")
def run(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("colours") / "run"
    return Trainer(tiny_network(classes=3), epochs=6, device="cpu").fit(data, out=folder, report=False)


def test_figures_equal_those_of_scikit_learn() -> None:
    found = evaluation()
    true, said, p = found.label, found.predicted, found.probabilities.astype(np.float64)
    assert np.array_equal(said, p >= np.float32([0.5, 0.4, 0.3]))
    assert found.accuracy == metrics.accuracy_score(true, said)
    assert found.interval == wilson(found.correct, found.n)
    assert found.loss == pytest.approx(np.mean([metrics.log_loss(true[:, k], p[:, k]) for k in range(3)]), rel=1e-5)
    assert found.label_accuracy["value"] == pytest.approx(1 - metrics.hamming_loss(true, said))
    ap = found.average_precision
    assert ap["macro"]["value"] == pytest.approx(metrics.average_precision_score(true, p, average="macro"))
    each = metrics.average_precision_score(true, p, average=None)
    assert [row["value"] for row in ap["per_class"]] == pytest.approx(each)
    assert all(row["interval"][0] <= row["value"] <= row["interval"][1] for row in [*ap["per_class"], ap["macro"]])
    assert found.roc_auc["macro"]["value"] == pytest.approx(metrics.roc_auc_score(true, p))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, said)
    for row, *wanted in zip(found.per_class, precision, recall, f1, support, strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(wanted)
    assert found.micro_average["f1"] == pytest.approx(metrics.f1_score(true, said, average="micro"))
    assert found.macro_average["f1"] == pytest.approx(f1.mean())
    for k, row in enumerate(found.per_class):
        right = int((true[:, k] == said[:, k]).sum())
        assert (row["accuracy"], tuple(row["accuracy_interval"])) == (right / found.n, wilson(right, found.n))


def test_thresholds_have_the_highest_f1_there_is() -> None:
    logits, labels = logits_and_labels(150, seed=3)
    p = torch.from_numpy(logits).sigmoid().numpy()
    found = best_thresholds(p, labels)
    for k, threshold in enumerate(found):
        every = [metrics.f1_score(labels[:, k], p[:, k] >= value) for value in np.unique(p[:, k])]
        assert metrics.f1_score(labels[:, k], p[:, k] >= threshold) == pytest.approx(max(every))
    assert best_thresholds(np.full((5, 1), 0.7), np.ones((5, 1), np.int64)) == (0.35,)
    assert best_thresholds(np.full((5, 1), 0.7), np.zeros((5, 1), np.int64)) == (0.5,)


def test_the_loss_is_binary_cross_entropy_and_a_hit_has_all_labels_right() -> None:
    logits, labels = (torch.from_numpy(array) for array in logits_and_labels(40))
    task = MultiLabel(3)
    assert torch.equal(task.loss(logits, labels), F.binary_cross_entropy_with_logits(logits, labels.float()))
    assert int(task.count(logits, labels)) == int(((logits > 0) == labels.bool()).all(dim=1).sum())
    strict = MultiLabel(3, thresholds=(0.9, 0.9, 0.9))
    assert int(strict.count(logits, labels)) == int(((logits.sigmoid() > 0.9) == labels.bool()).all(dim=1).sum())
    smooth = MultiLabel(3, label_smoothing=0.2, class_weights=(1.0, 2.0, 0.5))
    wanted = F.binary_cross_entropy_with_logits(logits, labels * 0.8 + 0.1, weight=torch.tensor([1.0, 2.0, 0.5]))
    assert torch.allclose(smooth.loss(logits, labels), wanted)
    with pytest.raises(InputError, match="targets do not match the labels"):
        task.check(logits, Batch(logits, labels[:, 0], None))


def test_a_run_learns_its_labels_and_stores_the_thresholds_of_validation(run: Any, data: Data) -> None:
    found = run.evaluation
    assert isinstance(found, MultiLabelEvaluation)
    assert found.average_precision["macro"]["value"] > 0.95
    assert (found.n, found.split, found.selected_on) == (60, "test", "validation")
    thresholds = run.predictor.config.thresholds
    assert found.thresholds == thresholds
    assert thresholds != (0.5, 0.5, 0.5)
    validation = evaluate(run.predictor, data.validation)
    assert best_thresholds(validation.probabilities, validation.label) == thresholds
    lines = [json.loads(line) for line in (run.folder / "ledger.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines if "thresholds" in line.get("chose", ())] == ["validation"]


def test_a_run_is_read_back_and_predicts_labels(run: Any, data: Data) -> None:
    again = load(run.folder, network=tiny_network(classes=3), device="cpu")
    assert again.evaluation.to_json() == run.evaluation.to_json()
    assert isinstance(again.evaluation, MultiLabelEvaluation)
    predictions = again.predict(list(data.test.pixels))
    assert np.array_equal(predictions.given, run.evaluation.predicted)
    first = predictions[0]
    assert first.labels == tuple(np.array(CLASSES)[run.evaluation.predicted[0] == 1])
    assert first.answer == (", ".join(first.labels) or "none")
    with pytest.raises(InputError, match="one class to each image"):
        again.predict(list(data.test.pixels), sure=0.9)
    assert evaluate(again.predictor, data.test).accuracy == run.evaluation.accuracy


def test_a_changed_evaluation_is_refused(tmp_path: Path) -> None:
    evaluation().save(tmp_path)
    assert Evaluation.load(tmp_path).to_json() == evaluation().to_json()
    text = (tmp_path / "evaluation.json").read_text()
    (tmp_path / "evaluation.json").write_text(text.replace(f'"correct": {evaluation().correct}', '"correct": 399'))
    with pytest.raises(InputError, match="was changed"):
        Evaluation.load(tmp_path)


def test_two_equal_trainings_are_equal(data: Data) -> None:
    first, second = (Trainer(tiny_network(classes=3), epochs=1, device="cpu").fit(data) for _ in range(2))
    assert np.array_equal(first.evaluation.probabilities, second.evaluation.probabilities)


def test_a_data_set_of_vectors_is_multi_label_too() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = (torch.rand(40, 3, generator=draw) < 0.5).float()
    pixels = torch.randn(40, 3, 6, 6, generator=draw) + 3 * labels[:, :, None, None]
    dataset = TensorDataset(pixels, labels)
    run = Trainer(tiny_network(classes=3), epochs=2, device="cpu").fit(dataset, dataset)
    assert isinstance(run.evaluation, MultiLabelEvaluation)
    assert run.evaluation.label.tolist() == labels.tolist()


def test_what_speaks_of_one_class_refuses_several_labels(run: Any, data: Data) -> None:
    with pytest.raises(InputError, match="there is no test of that here"):
        compare(run.evaluation, run.evaluation)
    with pytest.raises(InputError, match="one class to each image"):
        Trainer(tiny_network(classes=3), epochs=1, device="cpu", calibrate=True).fit(data)
    with pytest.raises(AttributeError, match="has no 'top_k'"):
        _ = run.evaluation.top_k
    with pytest.raises(AttributeError, match="has no 'brier_score'"):
        _ = run.evaluation.brier_score


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3)), "nothing to evaluate"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), "not finite"),
        (np.zeros((2, 3)), np.full((2, 3), 0.5), "must be 0 or 1"),
    ],
)
def test_bad_outputs_and_labels_are_refused(logits: np.ndarray, labels: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MultiLabelEvaluation.from_label_logits(logits, labels, thresholds=(0.5,) * 3, classes=CLASSES, split="test")
