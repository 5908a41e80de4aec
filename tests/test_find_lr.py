"""The range test: one suggested learning rate, and nothing left behind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torchvision.models import googlenet

from helpers import CLASSES, assert_same_weights, generator_states, image_set, tiny_network, weights
from truefit import ImageSet, InputError, Recipe, Trainer
from truefit.find_lr import find_lr


def pictures(n: int = 96) -> ImageSet:
    """Two classes that differ in brightness."""
    labels = np.arange(n) % 2
    noise = np.random.default_rng(0).normal(100, 30, (n, 24, 24, 3)) + 60 * labels[:, None, None, None]
    return ImageSet(
        split="train",
        classes=("a", "b"),
        labels=labels,
        pixels=np.clip(noise, 0, 255).astype(np.uint8),
        image_size=24,
    )


def test_the_rate_grows_by_equal_factors_and_the_suggestion_lies_below_the_lowest_loss() -> None:
    found = find_lr(Trainer("convnet", Recipe(batch_size=16), device="cpu"), pictures(), steps=60)
    factors = np.array(found.lrs[1:]) / np.array(found.lrs[:-1])
    assert found.lrs[0] == pytest.approx(1e-6)
    assert factors == pytest.approx(factors[0])
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) <= 60
    best = found.lrs[int(np.argmin(found.smoothed))]
    assert found.suggestion == pytest.approx(best / 10)
    assert found.losses[0] > min(found.losses)
    assert all(map(math.isfinite, found.losses))
    labels = [line.get_label() for line in found.plot().axes[0].lines]
    assert f"suggestion {found.suggestion:.1e}" in labels


def test_network_and_generators_are_left_as_they_were() -> None:
    network = tiny_network(batchnorm=True)
    before, generators = weights(network), generator_states()
    trainer = Trainer(network, Recipe(batch_size=4), device="cpu")
    first = find_lr(trainer, image_set(40), steps=40)
    assert_same_weights(network, before)
    assert generator_states() == generators
    assert all(parameter.grad is None for parameter in network.parameters())
    assert find_lr(trainer, image_set(40), steps=40).losses == first.losses


def test_a_network_that_gives_more_than_logits_is_tested_by_them() -> None:
    network = googlenet(num_classes=CLASSES, aux_logits=True, init_weights=True)
    found = find_lr(Trainer(network, Recipe(batch_size=4), device="cpu"), image_set(8, side=32), steps=10)
    assert len(found.losses) >= 2
    assert not network._forward_hooks


def test_the_test_ends_where_the_loss_gets_worse() -> None:
    trainer = Trainer(tiny_network(), Recipe(batch_size=4), device="cpu")
    found = find_lr(trainer, image_set(40), highest=1e8, steps=60)
    assert len(found.lrs) < 60
    # At three times the lowest it ends: nothing before the last step was worse than that.
    assert max(found.smoothed[:-1]) <= 3 * min(found.smoothed)


@pytest.mark.parametrize("wrong", [{"lowest": 0.0}, {"lowest": 1.0, "highest": 0.1}, {"steps": 3}])
def test_a_range_that_is_none_is_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        find_lr(Trainer(tiny_network(), Recipe(batch_size=4), device="cpu"), image_set(12), **wrong)  # type: ignore[arg-type]
