"""ConvNet: its shapes, its names, its order of layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from truefit import ConvNet, InputError, train
from truefit.models.head import zero_head
from truefit.models.lookup import build_model, image_sizes, model_names
from truefit.models.traits import has_batchnorm


def block(number: int, before: int, after: int) -> dict[str, tuple[int, ...]]:
    return {
        f"conv{number}.weight": (after, before, 3, 3),
        f"conv{number}.bias": (after,),
        f"batchnorm{number}.weight": (after,),
        f"batchnorm{number}.bias": (after,),
        f"batchnorm{number}.running_mean": (after,),
        f"batchnorm{number}.running_var": (after,),
        f"batchnorm{number}.num_batches_tracked": (),
    }


USUAL = {
    **block(1, 3, 8),
    **block(2, 8, 8),
    **block(3, 8, 32),
    **block(4, 32, 32),
    **block(5, 32, 128),
    **block(6, 128, 128),
    "conv7.weight": (10, 128, 1, 1),
    "conv7.bias": (10,),
}


class HandWritten(nn.Module):
    """The usual hand-written version, word for word: convolution, ReLU, pool where there is one, BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        for number, (before, after) in enumerate([(3, 8), (8, 8), (8, 32), (32, 32), (32, 128), (128, 128)], start=1):
            setattr(self, f"conv{number}", nn.Conv2d(before, after, kernel_size=3, stride=1, padding=1))
            setattr(self, f"batchnorm{number}", nn.BatchNorm2d(after))
            if number % 2 == 0:
                setattr(self, f"pool{number}", nn.MaxPool2d(kernel_size=2))
        self.conv7 = nn.Conv2d(128, 10, kernel_size=1)
        self.pool7 = nn.AvgPool2d(kernel_size=3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, 7):
            x = self.relu(getattr(self, f"conv{number}")(x))
            if number % 2 == 0:
                x = getattr(self, f"pool{number}")(x)
            x = getattr(self, f"batchnorm{number}")(x)
        return self.pool7(self.conv7(x)).reshape(len(x), 10)


def test_the_state_dict_has_the_usual_names_and_shapes() -> None:
    assert {name: tuple(tensor.shape) for name, tensor in ConvNet().state_dict().items()} == USUAL
    pools = {name for name, _ in ConvNet().named_children() if name.startswith("pool")}
    assert pools == {"pool2", "pool4", "pool6", "pool7"}


def test_it_has_198930_parameters() -> None:
    assert sum(p.numel() for p in ConvNet().parameters()) == 198_930


@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_hand_written_network_bit_for_bit(training: bool) -> None:
    usual, ours = HandWritten(), ConvNet()
    # Statistics and scales that are not 0 and 1, negative scales too: then the order of the layers shows.
    for name, tensor in usual.state_dict().items():
        if "batchnorm" in name and tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor))
    ours.load_state_dict(usual.state_dict(), strict=True)
    x = torch.randn(6, 3, 32, 32)
    outputs = [network.train(training)(x) for network in (usual, ours)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for a, b in zip(usual.parameters(), ours.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    for name, tensor in usual.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name])


@pytest.mark.parametrize("sides", [(24, 24), (32, 32), (47, 47), (24, 47), (33, 29)])
def test_sides_from_24_to_47_give_logits(sides: tuple[int, int]) -> None:
    outputs = ConvNet(7).eval()(torch.randn(2, 3, *sides))
    assert outputs.shape == (2, 7)
    assert not torch.allclose(outputs.sum(dim=1), torch.ones(2), atol=1e-3)


def test_flat_vectors_are_the_same_images() -> None:
    network = ConvNet().eval()
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(network(x.flatten(1)), network(x))


def test_samples_of_a_batch_do_not_mix() -> None:
    network = ConvNet().eval()
    x = torch.randn(3, 3, 40, 40)
    together = network(x)
    for i in range(3):
        assert torch.allclose(network(x[i : i + 1])[0], together[i], atol=1e-6)


@pytest.mark.parametrize(
    "shape", [(2, 3, 23, 32), (2, 3, 32, 48), (2, 3, 48, 48), (2, 1, 32, 32), (3, 32, 32), (2, 3071), (3072,)]
)
def test_any_other_shape_is_an_error_that_says_what_it_takes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="from 24 to 47") as e:
        ConvNet()(torch.zeros(shape))
    assert str(tuple(shape)) in str(e.value)


def test_models_are_found_by_name_and_an_unknown_one_names_the_nearest() -> None:
    assert model_names()[0] == "convnet"
    assert {"resnet18", "mobilenet_v3_small"} <= set(model_names())
    assert isinstance(build_model("convnet", 3), ConvNet)
    assert build_model("convnet", 3).num_classes == 3
    assert image_sizes("convnet") == (24, 32, 47)
    with pytest.raises(InputError, match='did you mean "resnet18"'):
        build_model("resnet81", 10)


def test_batchnorm_is_found_wherever_it_stands() -> None:
    assert has_batchnorm(ConvNet())
    assert has_batchnorm(nn.Sequential(nn.Sequential(nn.BatchNorm1d(2))))
    assert not has_batchnorm(nn.Sequential(nn.GroupNorm(1, 2), nn.LayerNorm(3)))


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_with_a_head_of_zeros_classes_are_equal_at_first_and_the_second_step_learns_everywhere(name: str) -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = build_model(name, 7)
    assert network(images).std() > 0
    zero_head(network, 7)
    assert torch.equal(network(images), torch.zeros(8, 7))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    train(network, TensorDataset(images, torch.arange(8) % 7), 4, optimizer, nn.CrossEntropyLoss())
    assert all(not torch.equal(weight, before[name]) for name, weight in network.named_parameters())


def test_a_network_that_ends_in_another_layer_keeps_its_head() -> None:
    # In SqueezeNet a ReLU follows the last convolution: from zeros it would never learn.
    others = [nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), nn.Linear(4, 5), build_model("squeezenet1_1", 3)]
    for network in others:
        before = [parameter.detach().clone() for parameter in network.parameters()]
        zero_head(network, 3)
        assert all(map(torch.equal, network.parameters(), before))
