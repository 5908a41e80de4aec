"""Samples of anybody's data set: counted, checked and stacked into a batch."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from truefit.errors import InputError


def collate(samples: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Stack (image tensor, label) pairs: images (N, ...), labels int64 (N,).

    Labels may be ints, NumPy integers or 0-d integer tensors. Floating or vector targets are stacked as they
    are, for losses that want them.
    """
    images, labels = [], []
    for sample in samples:
        try:
            image, label = sample
        except (TypeError, ValueError):
            raise InputError(
                "a data set must give (image, label) pairs",
                found=f"a sample of type {type(sample).__name__}",
                wanted="(image tensor, label)",
            ) from None
        if not isinstance(image, Tensor):
            raise InputError(
                "images must be tensors",
                found=f"an image of type {type(image).__module__}.{type(image).__qualname__}",
                wanted="torch.Tensor of shape (C, H, W)",
                fix="give the data set a transform such as torchvision.transforms.v2: "
                "Compose([ToImage(), ToDtype(torch.float32, scale=True)])",
            )
        images.append(image)
        labels.append(label)
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise InputError(
            "images of one batch differ in shape",
            found=" and ".join(map(str, sorted(shapes)[:3])),
            wanted="one shape",
            fix="resize the images in the data set's transform",
        )
    return torch.stack(images), _targets(labels)


def _targets(labels: list[Any]) -> Tensor:
    try:
        return torch.tensor([operator.index(label) for label in labels])
    except (TypeError, ValueError, RuntimeError):
        pass
    try:
        tensors = [torch.as_tensor(label) for label in labels]
        if any(tensor.is_floating_point() or tensor.ndim for tensor in tensors):
            return torch.stack(tensors)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise InputError(
        "labels must be class indices",
        found=f"a label of type {type(labels[0]).__name__}",
        wanted="int, NumPy integer or 0-d integer tensor",
    )


def distinct_labels(targets: Tensor) -> tuple[int, ...] | None:
    """The labels that occur, sorted; None where targets are not class indices."""
    return tuple(torch.unique(targets).tolist()) if targets.ndim == 1 and targets.dtype == torch.int64 else None


def count_samples(dataset: Any, role: str) -> int | None:
    """The length of a data set, None for an iterable one; raises InputError where it is empty."""
    if isinstance(dataset, IterableDataset):
        return None
    if isinstance(dataset, DataLoader):
        raise InputError(
            f"the {role} is a DataLoader",
            wanted="the data set itself",
            fix="pass loader.dataset; truefit batches it",
        )
    if not hasattr(type(dataset), "__len__"):
        raise InputError(
            f"the {role} has no length",
            found=f"{type(dataset).__module__}.{type(dataset).__qualname__}",
            wanted="a map-style torch Dataset with __len__ and __getitem__, or an IterableDataset",
        )
    samples = len(dataset)
    if samples == 0:
        raise InputError(f"the {role} is empty", found="0 samples", wanted="at least 1 sample")
    return samples
