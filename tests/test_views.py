"""Averaging over views of an image, and networks that give more than logits."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import googlenet

import truefit
from helpers import image_set, tiny_network
from truefit import ImageSet, InputError, Recipe, Trainer
from truefit.commands.output import figure_line
from truefit.data.views import View, views
from truefit.events import Event, Note
from truefit.predictor import Averaging

IMAGES = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


def test_crops_lie_on_the_diagonal_with_a_reflected_border() -> None:
    wide = np.pad(IMAGES, ((0, 0), (0, 0), (1, 1), (2, 2)), "reflect")
    for view in views("flip-crops"):
        top, left = 1 + view.down, 2 + 2 * view.right
        crop = wide[:, :, top : top + 32, left : left + 64]
        np.testing.assert_array_equal(view.of(IMAGES).numpy(), crop[..., ::-1] if view.mirrored else crop)
    assert [(v.down, v.right, v.weight) for v in views("crops")] == [(0, 0, 2), (-1, -1, 1), (1, 1, 1)]
    assert [len(views(name)) for name in ("none", "flip", "crops", "flip-crops")] == [1, 2, 3, 6]


def test_a_map_of_a_view_comes_back_to_its_place() -> None:
    for view in views("flip-crops"):
        back = view.back(view.of(IMAGES))
        torch.testing.assert_close(back[:, :, 1:-1, 2:-2], IMAGES[:, :, 1:-1, 2:-2])
    assert float(View(down=1).back(torch.ones(1, 1, 32, 32))[0, 0, :1].sum()) == 0


@pytest.mark.parametrize("averaging", ["none", "flip", "crops", "flip-crops"])
def test_logits_are_the_mean_over_the_views(averaging: Any) -> None:
    network = tiny_network()
    with torch.no_grad():
        weights = {"none": [1], "flip": [0.5] * 2, "crops": [0.5, 0.25, 0.25], "flip-crops": [0.25] * 2 + [0.125] * 4}
        shown = [network(view.of(IMAGES)) for view in views(averaging)]
        wanted = sum(share * logits for share, logits in zip(weights[averaging], shown, strict=True))
        torch.testing.assert_close(Averaging(network, averaging, 2.0)(IMAGES), wanted / 2)


def byte_set(number: int = 24) -> ImageSet:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 255, (number, 24, 24, 3), dtype=np.uint8)
    return ImageSet(pixels=pixels, labels=np.arange(number) % 3, classes=("a", "b", "c"), split="train")


def test_averaging_over_crops_is_measured_named_stored_and_used(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=8, averaging="flip-crops")
    run = Trainer("convnet", recipe).fit(byte_set(), byte_set(), out=tmp_path, report=False)
    assert run.evaluation is not None
    assert "averaged over three crops of each image, and their mirror images" in figure_line(run.evaluation)
    again = truefit.load(tmp_path)
    pixels = byte_set().pixels
    assert pixels is not None
    np.testing.assert_allclose(again.predict(pixels).probabilities, run.evaluation.probabilities, atol=1e-6)
    plain = Trainer("convnet", Recipe(epochs=1, batch_size=8, averaging="none")).fit(byte_set(), byte_set())
    assert plain.evaluation is not None and "averaged" not in figure_line(plain.evaluation)
    assert np.abs(plain.evaluation.probabilities - run.evaluation.probabilities).max() > 1e-4


class Wrapped(nn.Module):
    """Logits among other things, as a mapping or as an attribute."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.network, self.kind = tiny_network(), kind

    def forward(self, images: Tensor) -> Any:
        logits = self.network(images)
        if self.kind == "mapping":
            return OrderedDict(logits=logits, hidden=images)
        return (logits, images)


@pytest.mark.parametrize("kind", ["mapping", "googlenet"])
def test_a_network_that_gives_more_is_trained_by_its_logits_and_stays_as_it_was(kind: str, tmp_path: Path) -> None:
    said: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    side, network = (
        (6, Wrapped(kind)) if kind == "mapping" else (32, googlenet(num_classes=4, aux_logits=True, init_weights=True))
    )
    before = [parameter.detach().clone() for parameter in network.parameters()]
    data = image_set(8, side=side)
    run = Trainer(network, Recipe(epochs=1, batch_size=4), observers=[listen]).fit(
        data, data, out=tmp_path, report=False
    )
    assert run.evaluation is not None and run.evaluation.n == 8
    assert sum("its logits are trained, the rest is left out" in text for text in said) == 1
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not network._forward_hooks
    assert type(network.train()(data.tensors[0])).__name__ == (
        "OrderedDict" if kind == "mapping" else "GoogLeNetOutputs"
    )
    again = truefit.load(tmp_path, network=network)
    found = again.predict(list(data.tensors[0])).probabilities
    np.testing.assert_allclose(found, run.evaluation.probabilities, atol=1e-5)


def test_outputs_without_logits_are_refused() -> None:
    with pytest.raises(InputError, match=r"wrong shape(.|\n)*tuple"):
        Trainer(Wrapped("tuple"), Recipe(epochs=1)).fit(image_set(8), image_set(8))
