"""What a loader draws from: the data set under its Subsets, which samples of it, their labels, and its split."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, SubsetRandomSampler, TensorDataset

from truefit.doctor.log import LoaderSeen, Log


def sampler_of(loader: Any) -> Any:
    """The sampler that decides the order. A DataLoader that was given a batch sampler also has a `sampler`, which
    nothing asks: the one that draws is inside, whatever wraps it (accelerate, distributed shards)."""
    inner = getattr(loader, "batch_sampler", None)
    if getattr(loader, "batch_size", None) is not None or inner is None:
        return getattr(loader, "sampler", None)
    for _ in range(8):
        if getattr(inner, "sampler", None) is not None:
            return inner.sampler
        if getattr(inner, "batch_sampler", None) is None:
            break
        inner = inner.batch_sampler
    return inner


def positions(loader: Any) -> np.ndarray:
    """Which samples of its own data set the loader draws from: int64, sorted."""
    sampler = sampler_of(loader)
    if type(sampler) is SubsetRandomSampler:
        return np.unique(np.asarray(list(sampler.indices), dtype=np.int64))
    return np.arange(len(loader.dataset))


def base_and_indices(loader: Any) -> tuple[Any, np.ndarray] | None:
    """The data set under all Subsets, and the indices (int64) into it; None where it has no length or is joined."""
    dataset = getattr(loader, "dataset", None)
    if dataset is None or isinstance(dataset, IterableDataset | ConcatDataset) or not hasattr(dataset, "__len__"):
        return None
    chosen = positions(loader)
    # Subset, and whatever wraps one in the same way.
    for _ in range(8):
        inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
        if inner is None or not hasattr(inner, "__getitem__"):
            break
        if indices is not None:
            chosen = np.asarray(indices, dtype=np.int64)[chosen]
        elif len(inner) != len(dataset):
            return None
        dataset = inner
    return dataset, chosen


def identity(dataset: Any) -> Any:
    """Equal for two data sets with the same samples at the same indices: one object, or the same files."""
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and samples and isinstance(samples[0], tuple) and isinstance(samples[0][0], str):
        return ("files", len(samples), hash(tuple(sample[0] for sample in samples)))
    root = getattr(dataset, "root", None)
    if isinstance(root, str | PurePath) and type(dataset).__module__.startswith("torchvision."):
        split = (getattr(dataset, "train", None), getattr(dataset, "split", None), getattr(dataset, "_split", None))
        return (type(dataset).__qualname__, str(root), split, len(dataset))
    if isinstance(dataset, TensorDataset):
        return ("tensors", tuple((t.data_ptr(), tuple(t.shape)) for t in dataset.tensors))
    return id(dataset)


def all_labels(loader: Any) -> np.ndarray | None:
    """The labels (int64) of all the loader's samples in the data set's order, where they stand somewhere to read."""
    found = base_and_indices(loader)
    if found is None:
        return None
    dataset, indices = found
    labels: Any = getattr(dataset, "targets", None)
    labels = labels if labels is not None else getattr(dataset, "labels", None)
    if labels is None and isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        labels = dataset.tensors[-1]
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    try:
        array = np.asarray(labels)
    except ValueError:
        return None
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) != len(dataset):
        return None
    chosen: np.ndarray = array.astype(np.int64)[indices]
    return chosen


def says_test(seen: LoaderSeen) -> str | None:
    """The sign that a loader's samples are a test split: the data set's own word, or the script's names for it."""
    found = base_and_indices(seen.loader)
    dataset = found[0] if found is not None else getattr(seen.loader, "dataset", None)
    root = getattr(dataset, "root", None)
    if getattr(dataset, "split", None) == "test" or getattr(dataset, "_split", None) == "test":
        return 'the data set was made with split="test"'
    if getattr(dataset, "train", None) is False and type(dataset).__module__.startswith("torchvision."):
        return "the data set was made with train=False"
    if isinstance(root, str | PurePath) and PurePath(root).name.lower() in ("test", "testing"):
        return f"the data set's folder is {PurePath(root).name}"
    named = [
        name
        for name in seen.name.split(", ")
        if "test" in name.lower().split("_")[0:3] or name.lower().startswith("test")
    ]
    return f"the script calls it {named[0]}" if named else None


def same_samples(first: LoaderSeen, second: LoaderSeen) -> bool:
    """Whether two loaders draw from exactly the same samples."""
    one, two = base_and_indices(first.loader), base_and_indices(second.loader)
    if one is None or two is None:
        return first.loader.dataset is second.loader.dataset
    return identity(one[0]) == identity(two[0]) and np.array_equal(np.sort(one[1]), np.sort(two[1]))


def validation_loaders(log: Log) -> list[LoaderSeen]:
    """Loaders that only evaluate, other samples than those of any training loader."""
    training = log.training_loaders()
    return [seen for seen in log.evaluation_loaders() if not any(same_samples(seen, one) for one in training)]
