"""The recipe for a GPU and its network: they build, and take steps on a CPU too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import CLASSES, image_set, tiny_network
from truefit import ImageSet, Trainer, find_recipe
from truefit.events import Note
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


def test_a_named_model_whitens_patches_of_the_training_images_and_one_of_ones_own_is_learnt_as_it_is() -> None:
    recipe = replace(find_recipe("speedrun"), epochs=1, batch_size=8)
    images = numbered(24)
    named = Trainer("speednet", recipe).fit(images).network
    patches = torch.randn(50, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    assert not named.whiten.weight.requires_grad
    network = build_model("speednet", CLASSES)
    assert network.whiten.weight.requires_grad
    network.initialise_from(patches)
    assert not network.whiten.bias.requires_grad
    white = network.whiten(patches).detach()[:, :12].transpose(0, 1).flatten(1)
    white = white - network.whiten.bias.detach()[:12, None]
    covariance = white @ white.T / white.shape[1]
    assert torch.allclose(covariance, torch.eye(12), atol=0.1)


def test_the_network_is_its_layers_one_after_the_other() -> None:
    """Channels of zeros for the first convolution and a pool as large as what it pools change nothing."""
    network = build_model("speednet", 7).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whiten = network.whiten
    whitened = torch.nn.functional.conv2d(images, whiten.weight, whiten.bias)
    features = network.blocks(torch.nn.functional.gelu(whitened))
    wanted = network.head(features.amax(dim=(2, 3))) / 64
    assert torch.allclose(network(images), wanted, atol=1e-5)


@pytest.mark.parametrize("execution", ["graph", "compile"])
def test_it_is_said_where_steps_are_not_run_as_asked_for(execution: str) -> None:
    said: list[str] = []
    for asked in ("auto", execution):
        recipe = replace(find_recipe("speedrun"), epochs=1, batch_size=8, execution=asked)
        listen = [lambda event: said.append(event.text) if isinstance(event, Note) else None]
        Trainer(tiny_network(), recipe, device="cpu", observers=listen).fit(image_set(16))
    assert [text for text in said if "execution" in text] == [
        f"execution {execution} is not done here (the device is cpu): steps run one by one"
    ]


def numbered(n: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 24, 24, 3), dtype=np.uint8)
    return ImageSet(split="train", classes=tuple("abcd"), labels=np.arange(n) % CLASSES, pixels=pixels, image_size=24)
