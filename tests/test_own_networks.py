"""Networks as people write them: reshaped by `view`, in other element types, with buffers that change their shape."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

import truefit
from helpers import assert_same_weights, sgd, tiny_network, weights
from truefit import (
    ConvNet,
    ConvolutionalNeuralNet,
    ImageSet,
    NonFiniteError,
    Recipe,
    Trainer,
    accuracy,
    train,
    validate,
)
from truefit.checkpoint.state import load_network_state, network_state
from truefit.models.traits import takes_channels_last, wants_channels_last
from truefit.optim.averaging import WeightAverage
from truefit.recipes.recipe import EmaConfig

LOSS = nn.CrossEntropyLoss()
ONE_EPOCH = Recipe(epochs=1, batch_size=4)
AVERAGED = replace(ONE_EPOCH, epochs=2, ema=EmaConfig(decay=0.9))


class Viewing(nn.Module):
    """LeNet's way from maps to vectors, as the tutorials have it: fails on maps in channels_last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.conv(x)).view(-1, 4 * 64))


def to_vectors(x: Tensor) -> Tensor:
    return x.view(len(x), -1)


class ViewingBelow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(to_vectors(F.relu(self.conv(x))))


class Flattening(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)).flatten(1)


class Static(nn.Module):
    @staticmethod
    def flat(x: Tensor) -> Tensor:
        return x.view(len(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.flat(x)


class Called(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.call = lambda x: x.view(len(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def tensors(*, last: bool = False, dtype: torch.dtype = torch.float32) -> TensorDataset:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(12, 3, 8, 8, generator=draw).to(dtype)
    if last:
        images = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return TensorDataset(images, torch.arange(12) % 3)


def pictures() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    return ImageSet(split="train", classes=("a", "b", "c"), labels=np.arange(12) % 3, pixels=pixels, image_size=8)


@pytest.mark.parametrize("kind", [Viewing, ViewingBelow])
@pytest.mark.parametrize("data", [tensors(), tensors(last=True), pictures()], ids=["tensors", "last", "pictures"])
def test_a_network_that_views_works_through_every_door(
    kind: type[nn.Module], data: TensorDataset, tmp_path: Path
) -> None:
    network = kind()
    train(network, data, 4, sgd(network), LOSS)
    validate(network, data, 4, LOSS)
    hits = accuracy(network, data)
    ConvolutionalNeuralNet(network, progress=False, device="cpu").train(LOSS, 1, 4, data, data)
    assert truefit.evaluate(network, data).n == 12
    run = Trainer(kind(), AVERAGED, device="cpu").fit(data, data, out=tmp_path / "run")
    assert run.config["settings"]["channels_last"] is False
    again = truefit.load(tmp_path / "run", network=kind())
    image = data[0][0]
    assert again.predict(image)[0].probability == pytest.approx(run.predict(image)[0].probability)
    assert 0 <= hits <= 1


def test_a_network_is_looked_at_and_not_called_to_know_how_it_reshapes() -> None:
    assert [takes_channels_last(made) for made in (Viewing(), ViewingBelow(), Called(), Static())] == [False] * 4
    assert [takes_channels_last(made) for made in (Flattening(), ConvNet(), nn.Sequential(Flattening()))] == [True] * 3
    assert not takes_channels_last(nn.Sequential(Viewing()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated by newer versions of torch
        assert not takes_channels_last(torch.jit.script(Flattening()))


def test_images_lie_as_the_filters_of_a_network_that_is_taken_as_it_is() -> None:
    assert wants_channels_last(ConvNet())
    assert not wants_channels_last(Flattening())
    assert wants_channels_last(Flattening().to(memory_format=torch.channels_last))
    assert not wants_channels_last(Viewing().to(memory_format=torch.channels_last))
    assert not wants_channels_last(nn.Linear(3, 3))


def test_images_that_are_permuted_train_the_very_network_that_a_loader_trains() -> None:
    """A plain TensorDataset is cut by the batch, others sample by sample: the same memory, the same bits."""
    found = []
    for data in (tensors(last=True), Subset(tensors(last=True), range(12))):
        torch.manual_seed(3)
        network = tiny_network(batchnorm=True)
        losses = train(network, data, 5, sgd(network), LOSS)
        losses += validate(network, data, 5, LOSS)
        found.append((losses, weights(network)))
    assert found[0][0] == found[1][0]
    assert_same_weights(found[0][1], found[1][1])
    network = Viewing()
    wanted = [float(LOSS(network(x), y).detach()) for x, y in DataLoader(tensors(last=True), 5)]
    assert validate(network, tensors(last=True), 5, LOSS) == wanted


def test_images_of_another_floating_type_become_that_of_the_network() -> None:
    """Tensors made from NumPy's floats are float64, networks are float32."""
    data = tensors(dtype=torch.float64)
    assert truefit.evaluate(tiny_network(classes=3), data).n == 12
    run = Trainer(tiny_network(classes=3), ONE_EPOCH, device="cpu").fit(data, data)
    assert len(run.predict(data[0][0])) == 1


def test_mixed_images_lie_as_the_others_do() -> None:
    recipe = replace(ONE_EPOCH, augment=replace(ONE_EPOCH.augment, mixup=0.2, cutmix=1.0))
    assert Trainer(Viewing(), recipe, device="cpu").fit(pictures(), pictures()).history


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_gets_images_of_its_floating_type(dtype: torch.dtype) -> None:
    data = tensors(dtype=dtype)
    network = tiny_network(classes=3).to(dtype)
    assert truefit.evaluate(network, data).correct == round(12 * accuracy(network, data))
    for shrink in (1.0, 0.8):
        recipe = replace(ONE_EPOCH, augment=replace(ONE_EPOCH.augment, shrink=shrink, flip=True))
        run = Trainer(tiny_network(classes=3).to(dtype), recipe, device="cpu").fit(data, data)
        assert run.predict(data[0][0])[0].probabilities.keys() == {"0", "1", "2"}


class Growing(nn.Module):
    """Its buffers change: one is filled at first use, one becomes nothing, one of another type."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(192, 3)
        self.register_buffer("places", torch.zeros(0), persistent=False)
        self.register_buffer("gone", torch.zeros(2), persistent=False)
        self.register_buffer("counted", torch.zeros(2, dtype=torch.int32))
        self.register_buffer("sparse", torch.eye(3).to_sparse(), persistent=False)
        self.register_buffer("spread", torch.ones(1).expand(12), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.places) < len(x):
            self.places = torch.arange(float(len(x)))
        self.gone = None
        self.counted = self.counted.long()
        return self.out(x.flatten(1))


def test_buffers_may_change_their_shape_and_type_within_a_step() -> None:
    network, data = Growing(), tensors()
    assert len(train(network, data, 4, sgd(network), LOSS)) == 3
    assert network.places.tolist() == [0, 1, 2, 3]
    assert network.gone is None
    run = Trainer(Growing(), AVERAGED, device="cpu").fit(data, data)
    assert [record["epoch"] for record in run.history] == [1, 2]


def test_buffers_that_a_bad_step_has_replaced_are_put_back() -> None:
    network, data = Growing(), tensors()
    with pytest.raises(NonFiniteError):
        train(network, data, 4, sgd(network), lambda outputs, targets: outputs.sum() * float("nan"))
    assert len(network.places) == 0
    assert network.gone.tolist() == [0, 0]
    assert network.counted.dtype == torch.int32


def test_an_average_takes_over_what_can_not_be_averaged() -> None:
    network = Growing()
    average = WeightAverage(network, EmaConfig(decay=0.5))
    network(torch.zeros(4, 3, 8, 8))
    network.sparse = 2 * network.sparse
    average.step()
    assert average.network.places.tolist() == [0, 1, 2, 3]
    assert average.network.gone is None
    assert torch.equal(average.network.sparse.to_dense(), 2 * torch.eye(3))
    network.places += 1
    assert average.network.places.tolist() == [0, 1, 2, 3]


def test_what_an_average_took_over_is_its_own_and_comes_back_with_its_state() -> None:
    class Late(Growing):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("late", None, persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.late is None:
                self.late = torch.ones(3)
            return super().forward(x)

    network = Late()
    average = WeightAverage(network, EmaConfig(decay=0.5))
    network(torch.zeros(4, 3, 8, 8))
    average.step()
    assert average.network.late is not network.late
    network.late += 1
    average.step()
    fresh = WeightAverage(Late(), EmaConfig(decay=0.5))
    fresh.load_state_dict(average.state_dict())
    assert 1 < float(average.network.late[0]) < 2
    assert torch.equal(fresh.network.late, average.network.late)
    assert torch.equal(fresh.network.places, average.network.places)
    again = Late()
    load_network_state(again, network_state(network))
    assert torch.equal(again.late, network.late)
    assert again.places is not network.places


def test_a_gradient_in_float16_is_finite_where_its_numbers_are() -> None:
    """Their squares are not: the norm is computed in float32."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).half()
    data = tensors(dtype=torch.float16)
    train(network, data, 12, sgd(network, lr=1e-6), lambda outputs, targets: LOSS(outputs.float(), targets) * 3e4)
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert max(float(p.grad.float().norm()) for p in network.parameters() if p.grad is not None) > 1e4


def test_convnet_calls_every_module_where_somebody_watches() -> None:
    network, called = ConvNet(), []
    for number in range(1, 8):
        getattr(network, f"conv{number}").register_forward_hook(lambda *_, number=number: called.append(number))
    images = torch.randn(2, 3, 30, 30)
    wanted = ConvNet()
    wanted.load_state_dict(network.state_dict())
    assert torch.allclose(network(images), wanted(images), atol=1e-6)
    assert called == [1, 2, 3, 4, 5, 6, 7]


def test_convnet_calls_a_module_that_was_replaced() -> None:
    network = ConvNet()
    network.conv6 = nn.Sequential(network.conv6, nn.ReLU())
    assert network(torch.randn(2, 3, 28, 28)).shape == (2, 10)


def test_what_goes_wrong_in_a_length_of_ones_own_is_told_as_it_is() -> None:
    class Broken(TensorDataset):
        def __len__(self) -> int:
            return len(None)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="NoneType"):
        accuracy(tiny_network(), Broken(torch.zeros(2, 3, 8, 8), torch.zeros(2)))
