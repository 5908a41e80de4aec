"""The recipe for a GPU and its network: they build, and take steps on a CPU too."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import CLASSES, image_set
from truefit import Trainer, find_recipe
from truefit.models.lookup import build_model, image_sizes


@pytest.mark.parametrize("side", image_sizes("speednet"))
def test_the_network_takes_images_of_its_sizes(side: int) -> None:
    network = build_model("speednet", 7)
    assert network(torch.zeros(2, 3, side, side)).shape == (2, 7)


def test_the_recipe_takes_steps_that_change_every_weight() -> None:
    network = build_model("speednet", CLASSES)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters() if weight.requires_grad}
    recipe = replace(find_recipe("speedrun"), epochs=2, batch_size=8, ema=find_recipe("standard").ema)
    run = Trainer(network, recipe).fit(image_set(16, side=24))
    assert len(run.history) == 2
    after = dict(run.network.named_parameters())
    assert all(not torch.equal(after[name], weight) for name, weight in before.items())
