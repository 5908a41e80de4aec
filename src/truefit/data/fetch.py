"""Fetching a batch from a data set, in this process or in a worker: the same samples, and the same random numbers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from truefit import rng
from truefit.data.collate import collate


class Fetch(Dataset[Any]):
    """Fetches a batch from a data set, seeded for its place; works alike in this process and in a worker."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitems__(self, request: tuple[int, list[int]]) -> tuple[Tensor, Tensor]:
        seed, indices = request
        with rng.seeded_host(seed):
            # Only the plain class: a subclass may have changed what an item is.
            if type(self.dataset) is TensorDataset and len(self.dataset.tensors) == 2:
                images, labels = (tensor[indices].contiguous() for tensor in self.dataset.tensors)
                whole = labels.ndim == 1 and not labels.is_floating_point() and labels.dtype != torch.bool
                return images, labels.to(torch.int64) if whole else labels
            dataset: Any = self.dataset
            if _fetches_many(type(dataset)):
                return collate(dataset.__getitems__(indices))
            return collate([dataset[index] for index in indices])


def _fetches_many(kind: type) -> bool:
    """Whether its `__getitems__` is at least as new as its `__getitem__`: a subclass may have changed only that."""
    for base in kind.__mro__:
        if "__getitems__" in vars(base):
            return True
        if "__getitem__" in vars(base):
            return False
    return False


class Requests:
    """The batch sampler of a loader that outlives epochs: it reads the list that the epoch filled."""

    def __init__(self, requests: list[tuple[int, list[int]]]) -> None:
        self.requests = requests

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter(list(self.requests))

    def __len__(self) -> int:
        return len(self.requests)


def leave_signals_to_training(worker: int) -> None:
    """Ctrl-C and Slurm signal workers too: they must go on until training has finished its step."""
    told = []

    def ignore_first(number: int, frame: Any) -> None:
        told.append(number)
        if len(told) > 1:
            os._exit(0)

    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), ignore_first)


def as_it_is(batch: Any) -> Any:
    """What a loader is told to make of what `Fetch` gives."""
    return batch
