"""The focal loss and class-balanced sampling: what counts more, in the loss or by being shown more often."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers import image_set, tiny_network
from truefit import ImageSet, InputError, Recipe, Trainer
from truefit.data.plan import Plan, counts
from truefit.recipes.recipe import LossConfig
from truefit.tasks.focal import focal_binary_cross_entropy, focal_cross_entropy
from truefit.tasks.multi_label import MultiLabel
from truefit.tasks.single_label import SingleLabel

OUTPUTS = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.arange(9) % 4
WEIGHTS = (1.0, 2.0, 0.5, 3.0)


def test_focal_loss_is_that_of_the_paper() -> None:
    probabilities = OUTPUTS.double().softmax(dim=1)[torch.arange(9), LABELS]
    for gamma in (0.5, 1.0, 2.0, 5.0):
        wanted = -((1 - probabilities) ** gamma * probabilities.log())
        found = SingleLabel(4, focal=gamma).loss(OUTPUTS, LABELS)
        torch.testing.assert_close(found.double(), wanted.mean(), rtol=1e-5, atol=0)
        weights = torch.tensor(WEIGHTS).double()[LABELS]
        found = SingleLabel(4, focal=gamma, class_weights=WEIGHTS).loss(OUTPUTS, LABELS)
        torch.testing.assert_close(found.double(), (weights * wanted).sum() / weights.sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_with_gamma_0_it_is_torchs_cross_entropy(smoothing: float, weights: tuple[float, ...] | None) -> None:
    weight = None if weights is None else torch.tensor(weights)
    soft = OUTPUTS.flip(0).softmax(dim=1)
    for targets in (LABELS, soft):
        found = focal_cross_entropy(OUTPUTS, targets, 0.0, weight=weight, label_smoothing=smoothing)
        wanted = F.cross_entropy(OUTPUTS, targets, weight=weight, label_smoothing=smoothing)
        torch.testing.assert_close(found, wanted)
    wanted = F.binary_cross_entropy_with_logits(OUTPUTS, soft, weight=weight)
    torch.testing.assert_close(focal_binary_cross_entropy(OUTPUTS, soft, 0.0, weight=weight), wanted)


def test_focal_loss_of_several_labels_weighs_each_by_itself() -> None:
    truth = (OUTPUTS.flip(0) > 0).double()
    sure = torch.where(truth == 1, OUTPUTS.double().sigmoid(), 1 - OUTPUTS.double().sigmoid())
    wanted = (-((1 - sure) ** 2) * sure.log() * torch.tensor(WEIGHTS)).mean()
    found = MultiLabel(4, focal=2.0, class_weights=WEIGHTS).loss(OUTPUTS, truth)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_gradients_are_finite_where_the_network_is_sure(gamma: float) -> None:
    outputs = torch.tensor([[200.0, -200, 0], [-200, 200, 0]], requires_grad=True)
    focal_cross_entropy(outputs, torch.tensor([0, 0]), gamma).backward()
    assert outputs.grad is not None and bool(outputs.grad.isfinite().all())


# 3, 10 and 27 of a class, and one class without samples.
UNEVEN = torch.tensor([0] * 3 + [1] * 10 + [3] * 27)[torch.randperm(40, generator=torch.Generator().manual_seed(0))]


def test_a_balanced_epoch_has_exactly_equal_shares_and_is_as_long_as_ever() -> None:
    plan = Plan(samples=40, batch_size=16, seed=0, balanced=UNEVEN)
    assert counts(UNEVEN) == {0: 14, 1: 13, 3: 13}
    for epoch in range(3):
        batches = plan.batches(epoch)
        assert [len(batch) for batch in batches] == [16, 16, 8]
        rows = torch.cat(batches)
        assert Counter(UNEVEN[rows].tolist()) == counts(UNEVEN)
        shown = Counter(rows.tolist())
        for label, wanted in counts(UNEVEN).items():
            own = [shown[row] for row in (label == UNEVEN).nonzero()[:, 0].tolist()]
            # All samples of a class equally often, or once more.
            assert {min(own), max(own)} <= {wanted // len(own), -(-wanted // len(own))}


def test_who_is_shown_changes_from_epoch_to_epoch_and_is_a_function_of_seed_and_epoch() -> None:
    plan = Plan(samples=40, batch_size=16, seed=0, balanced=UNEVEN)
    epochs = [torch.cat(plan.batches(epoch)) for epoch in range(8)]
    assert len({tuple(sorted(rows.tolist())) for rows in epochs}) == 8
    # In the end everything has been shown.
    assert set(torch.cat(epochs).tolist()) == set(range(40))
    again, other = (torch.cat(replace(plan, seed=seed).batches(5)) for seed in (0, 1))
    assert torch.equal(again, epochs[5])
    assert not torch.equal(other, epochs[5])
    # Classes are not shown one after the other.
    assert len(set(UNEVEN[plan.batches(0)[0]].tolist())) == 3
    assert torch.equal(torch.cat(replace(plan, seed=None).batches(0)), torch.arange(40))


def byte_set() -> ImageSet:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 255, (40, 24, 24, 3), dtype=np.uint8)
    return ImageSet(pixels=pixels, labels=UNEVEN.numpy(), classes=tuple("abcd"), split="train")


def test_balanced_sampling_shows_more_of_small_classes_and_says_how_many(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=8, sampling="balanced")
    run = Trainer("convnet", recipe, measure_training=True).fit(byte_set(), byte_set(), out=tmp_path, report=False)
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["samples_an_epoch"] == {"a": 14, "b": 13, "d": 13}
    assert about["recipe"]["sampling"] == "balanced"
    plain = Trainer("convnet", replace(recipe, sampling="all")).fit(byte_set())
    assert plain.history[0]["training_loss"] != run.history[0]["training_loss"]
    # Evaluation is of the data as it is: each image once.
    assert run.evaluation is not None and run.evaluation.n == 40
    assert run.evaluation.label.tolist() == UNEVEN.tolist()


def test_balanced_sampling_needs_known_labels_one_for_each_image() -> None:
    recipe = Recipe(sampling="balanced")
    with pytest.raises(InputError, match=r"labels that are known before training(.|\n)*TensorDataset"):
        Trainer(tiny_network(), recipe).fit(image_set())
    several = replace(byte_set(), labels=np.eye(4, dtype=np.int64)[UNEVEN.numpy()])
    with pytest.raises(InputError, match="one class for each image"):
        Trainer(tiny_network(), recipe).fit(several)


def test_settings_of_loss_and_sampling_are_checked() -> None:
    with pytest.raises(InputError, match=r"loss\.focal"):
        LossConfig(focal=-1.0)
    with pytest.raises(InputError, match="sampling"):
        Recipe(sampling="balance")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="both make up for the sizes"):
        Recipe(sampling="balanced", loss=LossConfig(class_weights="balanced"))
