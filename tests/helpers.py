"""Tiny networks and data sets that the tests share; classes at module level, so that worker processes find them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

CLASSES = 4
SIDE = 6


def image_set(samples: int = 12, *, seed: int = 0, side: int = SIDE, classes: int = CLASSES) -> TensorDataset:
    """Random float images (3, side, side) whose labels can be learnt: the class shifts the mean colour."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=draw)
    images = torch.randn(samples, 3, side, side, generator=draw) + labels[:, None, None, None] / 2
    return TensorDataset(images, labels)


def tiny_network(seed: int = 0, *, batchnorm: bool = False, dropout: float = 0.0, classes: int = CLASSES) -> nn.Module:
    """Gives logits (N, classes) for the images of `image_set`. Making one leaves torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 5, 3),
            nn.BatchNorm2d(5) if batchnorm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(20, classes),
        )


def sgd(network: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    """Plain gradient descent."""
    return torch.optim.SGD(network.parameters(), lr=lr)


def weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the state_dict: weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def assert_same_weights(found: nn.Module | dict[str, Tensor], wanted: nn.Module | dict[str, Tensor]) -> None:
    """Every entry of both state_dicts is equal, bit for bit."""
    left = found.state_dict() if isinstance(found, nn.Module) else found
    right = wanted.state_dict() if isinstance(wanted, nn.Module) else wanted
    assert list(left) == list(right)
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different


def modes(network: nn.Module) -> list[bool]:
    """The mode of every module."""
    return [module.training for module in network.modules()]


def generator_states() -> tuple[Any, ...]:
    """The states of all global generators, comparable with ==."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), kind, keys.tolist(), rest, torch.get_rng_state().tolist()


class Recording(nn.Module):
    """Passes images on to a network, and keeps what it saw in each forward."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[Tensor] = []
        self.modes: list[list[bool]] = []
        self.gradients: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        self.modes.append(modes(self.network))
        self.gradients.append(torch.is_grad_enabled())
        outputs: Tensor = self.network(images)
        return outputs

    @property
    def batch_sizes(self) -> list[int]:
        return [len(images) for images in self.seen]


class Counting(Dataset[tuple[Tensor, int]]):
    """Counts how often each index is fetched, in the order of the calls."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.fetched.append(index)
        image, label = self.dataset[index]
        return image, int(label)

    @property
    def counts(self) -> Counter[int]:
        return Counter(self.fetched)


class Augmented(Dataset[tuple[Tensor, int]]):
    """Random augmentation as users write it: draws from Python's, NumPy's and torch's global generators."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.dataset[index]
        if random.random() < 0.5:
            image = image.flip(2)
        image = image + float(np.random.normal()) + torch.randn(())  # noqa: NPY002
        return image, int(label)


class Labelled(Dataset[tuple[Tensor, Any]]):
    """Zero images with the labels given, whatever their type."""

    def __init__(self, labels: Iterable[Any]) -> None:
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return torch.zeros(3, SIDE, SIDE), self.labels[index]


class Raising(Dataset[tuple[Tensor, int]]):
    """Raises an error of its own at one index."""

    def __init__(self, dataset: TensorDataset, at: int) -> None:
        self.dataset, self.at = dataset, at

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == self.at:
            raise OwnError("from the data set")
        image, label = self.dataset[index]
        return image, int(label)


class Stream(IterableDataset[tuple[Tensor, int]]):
    """Samples one after the other, without a length."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for image, label in self.dataset:
            yield image, int(label)


class OwnError(Exception):
    """An error that truefit has never heard of."""
