"""Heat maps of where a network looked (Grad-CAM)."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from helpers import generator_states, modes
from truefit.errors import InputError
from truefit.explain import explain, last_map
from truefit.models.lookup import build_model
from truefit.precision import resolve
from truefit.predictor import Predictor, PredictorConfig

SIDE = 32


def colour_network() -> nn.Module:
    """Class 0 is how much red there is, class 1 how much blue, each pixel by itself."""
    network = nn.Sequential(
        nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -1, -1], [-1, -1, 1]]).view(2, 3, 1, 1))
        network[4].weight.copy_(torch.eye(2))
        network[4].bias.zero_()
    return network.train()


def predictor_of(network: nn.Module, side: int = SIDE, **config) -> Predictor:
    settings = resolve(device="cpu", precision="auto", image_size=(side, side), workers=0)
    return Predictor(network, PredictorConfig(classes=("red", "blue"), image_size=side, **config), settings)


def two_spots() -> np.ndarray:
    """A large red spot at the top left, a smaller blue one at the bottom right, on black."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[2:12, 2:12, 0] = 255
    image[24:30, 24:30, 2] = 255
    return image


@pytest.mark.parametrize("averaging", ["none", "flip", "crops", "flip-crops"])
def test_the_map_lies_where_the_class_is(averaging):
    predictor = predictor_of(colour_network(), averaging=averaging)
    red, blue = explain(predictor, two_spots()), explain(predictor, two_spots(), explained="blue")
    assert (red.prediction.predicted, red.explained, blue.explained) == ("red", "red", "blue")
    assert blue.prediction.predicted == "red"
    wanted = np.zeros((SIDE, SIDE), np.float32)
    wanted[2:12, 2:12] = 1
    np.testing.assert_allclose(red.heat, wanted, atol=1e-6)
    wanted[:], wanted[24:30, 24:30] = 0, 1
    np.testing.assert_allclose(blue.heat, wanted, atol=1e-6)


def test_a_network_that_gives_more_than_logits_is_explained_by_them():
    class More(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = colour_network()

        def forward(self, images):
            return {"logits": self.inner(images), "features": images}

    network = More()
    found = explain(predictor_of(network), two_spots())
    np.testing.assert_array_equal(found.heat, explain(predictor_of(colour_network()), two_spots()).heat)
    assert set(network(torch.zeros(1, 3, SIDE, SIDE))) == {"logits", "features"}


def test_what_the_network_does_not_see_has_no_heat_and_the_rest_is_in_its_place():
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:, :6, 0] = 255
    heat = explain(predictor_of(colour_network(), crop=0.75), image).heat
    assert heat[4:28, 4:6].min() == 1
    assert heat.sum() == 24 * 2


@pytest.mark.parametrize("averaging", ["none", "flip"])
def test_the_map_is_that_of_the_paper(averaging):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(1, 3, 9, 9))
    image = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    found = explain(predictor_of(network, 9, averaging=averaging), image)

    def heat(pixels: torch.Tensor) -> torch.Tensor:
        maps = network[1](network[0](pixels)).detach().requires_grad_()
        network[3](maps.flatten(1))[0, found.prediction.index].backward()
        assert maps.grad is not None
        return (maps * maps.grad.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True).clamp(min=0).detach()

    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    both = heat(pixels) + heat(pixels.flip(3)).flip(3) * (averaging == "flip")
    wanted = nn.functional.interpolate(both, size=(9, 9), mode="bilinear")[0, 0]
    np.testing.assert_allclose(found.heat, (wanted / wanted.max()).numpy(), atol=1e-5)


def test_the_overlay_is_the_image_but_where_the_heat_is():
    found = explain(predictor_of(colour_network()), two_spots())
    assert found.overlay.size == (224, 224)
    pixels = np.asarray(found.overlay)
    cold = np.asarray(found.overlay.resize((SIDE, SIDE), 0))[15:]
    np.testing.assert_array_equal(cold, two_spots()[15:])
    assert pixels[49, 49].tolist() != [255, 0, 0]


def test_explaining_leaves_network_and_generators_as_they_were():
    plain = colour_network()
    network = nn.Sequential(nn.Dropout(0.5), *colour_network()).train()
    before = generator_states(), modes(network)
    found = explain(predictor_of(network), two_spots())
    np.testing.assert_array_equal(found.heat, explain(predictor_of(plain), two_spots()).heat)
    assert (generator_states(), modes(network)) == before
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("convnet", "conv7"),
        ("resnet18", "layer4"),
        ("squeezenet1_1", "classifier.2"),
        ("shufflenet_v2_x0_5", "conv5"),
        ("timm:tf_efficientnet_lite0", "bn2"),
        # Its last convolution has a map of one pixel.
        ("timm:mobilenetv3_small_050", "blocks"),
    ],
)
def test_the_last_map_of_named_networks_is_found(name, wanted):
    network = build_model(name, 3).eval()
    found = last_map(network, torch.zeros(1, 3, 32 if name == "convnet" else 64, 32 if name == "convnet" else 64))
    assert [place for place, module in network.named_modules() if module is found] == [wanted]


def test_a_network_that_only_cuts_patches_is_refused():
    network = build_model("timm:vit_tiny_patch16_224", 2).eval()
    with pytest.raises(InputError, match=r"Grad-CAM needs .*\n.*VisionTransformer.*\n.*resnet18"):
        explain(predictor_of(network, 224), two_spots())


def test_what_cannot_be_explained_is_said(monkeypatch):
    with pytest.raises(InputError, match=r'no class "rde"(.|\n)*did you mean "red"'):
        explain(predictor_of(colour_network()), two_spots(), explained="rde")
    with pytest.raises(InputError, match="only images"):
        explain(predictor_of(colour_network(), images="tensors"), two_spots())
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "captum.attr", raising=False)
    with pytest.raises(InputError, match=r"truefit\[explain\]"):
        explain(predictor_of(colour_network()), two_spots())
