"""Mixup and CutMix: what becomes of images and targets, and that place alone decides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from helpers import Stream, assert_same_weights, image_set, tiny_network
from truefit import ImageSet, InputError, Run, Trainer
from truefit.data.augment import Pipeline
from truefit.data.batch import Batch
from truefit.data.batches import MemoryBatches, make_batches
from truefit.data.mixing import Mixing
from truefit.data.plan import Plan
from truefit.data.shares import share
from truefit.events import Event, StepFinished
from truefit.recipes.recipe import AugmentConfig, LossConfig, Recipe
from truefit.tasks.multi_label import MultiLabel
from truefit.tasks.single_label import SingleLabel

CLASSES = 5
CPU = torch.device("cpu")
BOTH = Mixing(mixup=0.4, cutmix=1.0, classes=CLASSES)


def pixels_of(number: int) -> Tensor:
    """Images (n, 16, 16, 3) uint8 of one value each, which tells which image a pixel comes from."""
    return torch.arange(number, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 16, 16, 3)


def batches(mixing: Mixing | None, number: int = 40, **how: object) -> MemoryBatches:
    plan = Plan(samples=number, batch_size=32, seed=3)
    pipeline = Pipeline(augmentation=AugmentConfig(flip=True, shift=0.0, **how))  # type: ignore[arg-type]
    labels = torch.arange(number) % CLASSES
    return MemoryBatches(pixels_of(number), labels, plan, pipeline, device=CPU, mixing=mixing)


def first(mixing: Mixing | None, epoch: int = 0) -> Batch:
    return next(batches(mixing).epoch(epoch))


def test_mixup_averages_images_and_targets_in_the_same_proportion() -> None:
    batch = first(Mixing(mixup=1.0, cutmix=0.0, classes=CLASSES))
    how = Mixing(mixup=1.0, cutmix=0.0, classes=CLASSES).draw(_key(), 32)
    rows, images = batch.rows, batch.images
    assert rows is not None
    share = how.share
    wanted = rows * share + rows[how.partner] * (1 - share)
    torch.testing.assert_close(images, wanted.view(-1, 1, 1, 1).expand_as(images))
    for row, partner, part, target in zip(rows, rows[how.partner], share, batch.targets, strict=True):
        soft = torch.zeros(CLASSES)
        soft[row % CLASSES] += part
        soft[partner % CLASSES] += 1 - part
        torch.testing.assert_close(target, soft)
    assert len(set(share.tolist())) == 32
    assert 0 < float(share.min()) < 0.2 < 0.8 < float(share.max()) < 1


def _key() -> int:
    from truefit import rng

    return rng.key(3, "mix", 0, 0)


def test_cutmix_pastes_a_box_and_targets_count_its_pixels() -> None:
    batch = first(Mixing(mixup=0.0, cutmix=1.0, classes=CLASSES))
    rows = batch.rows
    assert rows is not None
    parts = set()
    for row, image, target in zip(rows, batch.images, batch.targets, strict=True):
        own = image[0] == row
        others = image[0][~own].unique()
        assert len(others) <= 1
        assert torch.equal(~own, (~own).any(dim=1)[:, None] & (~own).any(dim=0)[None, :])
        soft = torch.zeros(CLASSES)
        soft[row % CLASSES] += own.float().mean()
        if len(others):
            soft[int(others) % CLASSES] += 1 - own.float().mean()
        torch.testing.assert_close(target, soft)
        parts.add(float(own.float().mean()))
    assert len(parts) > 16


def test_a_box_that_no_border_cuts_has_the_area_that_was_drawn() -> None:
    mixing = Mixing(mixup=0.0, cutmix=1.0, classes=CLASSES)
    how, labels = mixing.draw(0, 400), torch.zeros(400, dtype=torch.int64)
    images, _ = mixing.mix(how, torch.zeros(400, 1, 32, 32), labels, torch.ones(400, 1, 32, 32), labels)
    edge = images[:, 0, [0, -1]].sum(dim=(1, 2)) + images[:, 0, :, [0, -1]].sum(dim=(1, 2))
    whole = edge == 0
    assert int(whole.sum()) > 40
    torch.testing.assert_close(images.mean(dim=(1, 2, 3))[whole], 1 - how.share[whole], atol=0.04, rtol=0)


def test_with_both_each_has_about_half_of_the_images() -> None:
    how = BOTH.draw(0, 1000)
    assert 420 < int(how.cut.sum()) < 580
    assert sorted(how.partner.tolist()) == list(range(1000))
    # Beta(0.4, 0.4) lies at the ends, Beta(1, 1) is even.
    ends = (how.share < 0.1) | (how.share > 0.9)
    assert float(ends[~how.cut].float().mean()) > 0.4 > 0.3 > float(ends[how.cut].float().mean())


def test_place_alone_decides_the_mixture() -> None:
    assert torch.equal(first(BOTH).images, first(BOTH).images)
    assert not torch.equal(first(BOTH).targets, first(BOTH, epoch=1).targets)
    whole = list(batches(BOTH).epoch(2))
    later = list(batches(BOTH).epoch(2, 1))
    assert torch.equal(later[0].images, whole[1].images)
    assert torch.equal(later[0].targets, whole[1].targets)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_processes_mix_with_images_of_all_and_get_what_one_would(monkeypatch, processes: int) -> None:
    wanted = list(batches(BOTH, policy="randaugment", erase=0.5).epoch(1))
    found = []
    for rank in range(processes):
        monkeypatch.setattr("truefit.data.batches.share", lambda samples, rank=rank: share(samples, processes, rank))
        found.append(list(batches(BOTH, policy="randaugment", erase=0.5).epoch(1)))
    for step, whole in enumerate(wanted):
        parts = [one[step] for one in found]
        assert all(part.samples == len(whole) for part in parts)
        torch.testing.assert_close(torch.cat([part.images for part in parts if len(part)]), whole.images)
        assert torch.equal(torch.cat([part.targets for part in parts if len(part)]), whole.targets)


def test_accumulated_parts_have_their_own_targets() -> None:
    batch = first(BOTH)
    parts = batch.parts(4, 32)
    assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)


def test_data_sets_of_ones_own_and_streams_are_mixed_too() -> None:
    data = image_set(12, classes=CLASSES)
    for dataset in (data, Stream(data)):
        one, again, plain = (
            next(make_batches(dataset, batch_size=12, device=CPU, role="training set", seed=1, mixing=mixing).epoch(0))
            for mixing in (BOTH, BOTH, None)
        )
        assert torch.equal(one.images, again.images)
        assert one.targets.shape == (12, CLASSES)
        torch.testing.assert_close(one.targets.sum(dim=1), torch.ones(12))
        assert not torch.equal(one.images, plain.images)


def test_soft_targets_have_the_loss_of_their_parts_and_no_hits() -> None:
    outputs, labels, others = torch.randn(6, CLASSES), torch.arange(6) % CLASSES, (torch.arange(6) + 1) % CLASSES
    share = torch.linspace(0, 1, 6)
    hot = torch.eye(CLASSES)
    soft = hot[labels] * share[:, None] + hot[others] * (1 - share[:, None])
    for focal in (0.0, 2.0):
        task = SingleLabel(CLASSES, label_smoothing=0.1, focal=focal, count_hits=False)
        wanted = sum(
            part * task.loss(outputs[i : i + 1], labels[i : i + 1])
            + (1 - part) * task.loss(outputs[i : i + 1], others[i : i + 1])
            for i, part in enumerate(share)
        )
        torch.testing.assert_close(task.loss(outputs, soft), wanted / 6)
        assert task.count(outputs, soft) is None
    assert MultiLabel(CLASSES, count_hits=False).count(outputs, soft) is None


def byte_set(number: int = 24) -> ImageSet:
    draw = np.random.default_rng(0)
    labels = np.arange(number) % 3
    images = (draw.integers(0, 120, (number, 24, 24, 3)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    return ImageSet(pixels=images, labels=labels, classes=("a", "b", "c"), split="train")


MIXED = AugmentConfig(policy="trivialaugment", erase=0.3, mixup=0.2, cutmix=1.0)


def test_a_run_with_all_of_it_has_no_running_accuracy_and_everything_else(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, batch_size=8, augment=MIXED)
    run = Trainer("convnet", recipe).fit(byte_set(), byte_set(), out=tmp_path / "run")
    assert [row["running_accuracy"] for row in run.history] == [None, None]
    assert all(row["training_loss"] > 0 and row["validation_accuracy"] is not None for row in run.history)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["augment"]["mixup"] == 0.2
    assert (tmp_path / "run" / "report.html").is_file()
    plain = Trainer("convnet", Recipe(epochs=1, batch_size=8)).fit(byte_set())
    mixed = Trainer("convnet", Recipe(epochs=1, batch_size=8, augment=AugmentConfig(mixup=0.2))).fit(byte_set())
    assert plain.history[0]["running_accuracy"] is not None
    assert mixed.history[0]["training_loss"] != plain.history[0]["training_loss"]
    # Without a validation set there is no accuracy at all to be drawn.
    assert Trainer("convnet", recipe).fit(byte_set(), out=tmp_path / "other").history[1]["validation_accuracy"] is None


class BrokeOffError(Exception):
    """What stands for a killed process within this one."""


def test_a_training_that_broke_off_within_an_epoch_goes_on_bit_for_bit(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, batch_size=8, augment=MIXED, sampling="balanced", loss=LossConfig(focal=1.5))

    def fit(out: Path, stop_after: int | None = None, **how: object) -> Run:
        steps = []

        def stop(event: Event) -> None:
            if isinstance(event, StepFinished):
                steps.append(event.step)
                if len(steps) == stop_after:
                    raise BrokeOffError

        trainer = Trainer("convnet", recipe, observers=[stop])
        return trainer.fit(byte_set(40), out=out, checkpoint_every="1steps", report=False, **how)  # type: ignore[arg-type]

    whole = fit(tmp_path / "whole")
    with pytest.raises(BrokeOffError):
        fit(tmp_path / "run", 8)
    assert_same_weights(fit(tmp_path / "run", resume=True).network, whole.network)


def test_what_can_not_be_mixed_or_changed_is_refused() -> None:
    with pytest.raises(InputError, match="need to know the classes"):
        Trainer(tiny_network(), Recipe(augment=AugmentConfig(mixup=0.2))).fit(image_set())
    with pytest.raises(InputError, match=r"randaugment changes images of bytes(.|\n)*tensors"):
        Trainer(tiny_network(), Recipe(augment=AugmentConfig(policy="randaugment"))).fit(image_set())


@pytest.mark.parametrize("asked", [{"augment": AugmentConfig(mixup=0.2)}, {"averaging": "crops"}])
def test_vectors_are_refused_before_anything_is_trained(asked: dict[str, Any]) -> None:
    data = TensorDataset(torch.rand(8, 4), torch.arange(8) % 2)
    data.classes = ("a", "b")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="is for images"):
        Trainer(nn.Linear(4, 2), Recipe(**asked)).fit(data)


def test_a_label_out_of_range_is_still_the_error_that_it_was() -> None:
    data = image_set(12, classes=CLASSES + 1)
    mixed = make_batches(data, batch_size=12, device=CPU, role="training set", seed=1, mixing=BOTH)
    with pytest.raises(InputError, match="label 5 is outside"):
        SingleLabel(CLASSES).check(torch.zeros(12, CLASSES), next(mixed.epoch(0)))
