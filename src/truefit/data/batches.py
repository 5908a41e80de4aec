"""Batches on the device, from images in memory, from any data set, or from a stream.

All three hand out `Batch`es for an epoch and are pure functions of (seed, epoch, position): the same epoch asked
twice is the same, whatever the number of workers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from truefit import rng
from truefit.data.augment import Draw, Pipeline
from truefit.data.collate import collate, count_samples, distinct_labels
from truefit.data.imageset import ImageSet
from truefit.data.plan import Plan


@dataclass(frozen=True, slots=True)
class Batch:
    """Images (N, C, H, W) and targets (N,) int64 on the device.

    `labels`: those that occur in this batch (or in the whole set), sorted, on the host; None where targets are not
    class indices.
    """

    images: Tensor
    targets: Tensor
    labels: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.images)

    def parts(self, count: int, full: int) -> list[Batch]:
        """Cut into `count` parts of a full batch of `full` samples.

        A short batch gives fewer parts, as even as possible, so that none is left with a single sample.
        """
        if count == 1:
            return [self]
        size = -(-full // count)
        pieces = -(-len(self) // size)
        if size > 1:
            pieces = max(1, min(pieces, len(self) // 2))
        images, targets = self.images.tensor_split(pieces), self.targets.tensor_split(pieces)
        return [Batch(i, t, self.labels) for i, t in zip(images, targets, strict=True)]


class Batches(Protocol):
    """What the loop asks of its data. `samples` and `steps` are None where the length is not known."""

    @property
    def samples(self) -> int | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def batch_size(self) -> int: ...
    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches of this epoch, from the one numbered `first` on. Closing it gives back what it holds."""
        ...

    def indices(self, epoch: int, step: int) -> list[int] | None:
        """The sample indices of one step, where known."""
        ...

    def damaged(self, epoch: int, step: int) -> list[int]:
        """Those of one step's samples whose image holds NaN or inf, as far as that can be found out."""
        ...


class _Planned:
    """What batches made by a plan have in common."""

    def __init__(self, plan: Plan, epochs: float) -> None:
        self.plan, self.epochs = plan, epochs

    @property
    def samples(self) -> int | None:
        return self.plan.samples

    @property
    def steps(self) -> int | None:
        return self.plan.steps

    @property
    def batch_size(self) -> int:
        return self.plan.batch_size

    def indices(self, epoch: int, step: int) -> list[int] | None:
        found: list[int] = self.plan.batches(epoch)[step].tolist()
        return found

    @cached_property
    def coins(self) -> Tensor:
        """(samples,) bool: which samples are mirrored in even epochs; the others are in odd ones.

        Alternating shows every image both ways in two epochs, which drawing anew does for half of them (source:
        Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.6).
        """
        return torch.rand(self.plan.samples, generator=rng.generator(self.plan.seed or 0, "mirror")) < 0.5

    def draw(self, rows: Tensor, epoch: int, step: int) -> Draw | None:
        """What decides the augmentation of this batch of the samples `rows`; None where nothing is augmented."""
        if self.plan.seed is None:
            return None
        coins = self.coins.index_select(0, rows)
        return Draw(
            generator=rng.generator(self.plan.seed, "augment", epoch, step),
            mirrored=~coins if epoch % 2 else coins,
            progress=(epoch + step / self.plan.steps) / self.epochs,
        )


class MemoryBatches(_Planned):
    """From uint8 images held in memory, (n, H, W, C): gathered, augmented and normalised on the device.

    rows: where each of the samples stands in `images`, (samples,) int64, where these are a map of a larger file;
    they then stay on the host, and a batch is gathered there. None: sample i is image i, all on the device.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        plan: Plan,
        pipeline: Pipeline,
        *,
        device: torch.device,
        rows: Tensor | None = None,
        epochs: float = 1,
    ) -> None:
        super().__init__(plan, epochs)
        self.images = images.to(device) if rows is None else images
        self.labels, self.rows = labels.to(device), rows
        self.distinct = distinct_labels(labels)
        self.pipeline = pipeline

    def damaged(self, epoch: int, step: int) -> list[int]:
        return []  # bytes are always finite

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        for step, rows in enumerate(self.plan.batches(epoch)[first:], start=first):
            labels = self.labels.index_select(0, rows.to(self.labels.device))
            yield Batch(self._prepared(rows, self.draw(rows, epoch, step)), labels, self.distinct)

    def _prepared(self, rows: Tensor, draw: Draw | None) -> Tensor:
        device = self.labels.device
        stored = rows if self.rows is None else self.rows.index_select(0, rows)
        if self.images.device == device:
            return self.pipeline(self.images, stored.to(device), draw)
        return self.pipeline(self.images.index_select(0, stored).to(device), None, draw)


class DatasetBatches(_Planned):
    """From any map-style data set of (image tensor, label).

    Each index is fetched once an epoch; Python, NumPy and torch are seeded for each batch before the data
    set's own code runs, and given back afterwards. `pipeline`: None leaves the tensors as they are; else it is
    applied to the stacked images, which are (N, C, H, W).
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        plan: Plan,
        *,
        device: torch.device,
        pipeline: Pipeline | None = None,
        workers: int = 0,
        epochs: float = 1,
    ) -> None:
        super().__init__(plan, epochs)
        self.fetch = _Fetch(dataset)
        self.device, self.pipeline, self.workers = device, pipeline, workers
        self._loader: DataLoader[Any] | None = None
        self._requests: list[tuple[int, list[int]]] = []

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        seed = self.plan.seed or 0
        cut = self.plan.batches(epoch)
        requests = [(rng.key(seed, "fetch", epoch, step), rows.tolist()) for step, rows in enumerate(cut)][first:]
        complete = False
        try:
            for step, (images, targets) in enumerate(self._fetched(requests), start=first):
                labels = distinct_labels(targets)
                images = images.to(self.device, non_blocking=True)
                images = _prepared(images, self.pipeline, self.draw(cut[step], epoch, step))
                yield Batch(images, targets.to(self.device, non_blocking=True), labels)
            complete = True
        finally:
            if not complete:
                # The workers end with their loader, now and not when a traceback is forgotten.
                self._loader = None

    def damaged(self, epoch: int, step: int) -> list[int]:
        rows = self.plan.batches(epoch)[step].tolist()
        images, _ = self.fetch.__getitems__((rng.key(self.plan.seed or 0, "fetch", epoch, step), rows))
        finite = images.flatten(1).isfinite().all(dim=1).tolist()
        return [row for row, fine in zip(rows, finite, strict=True) if not fine]

    def _fetched(self, requests: list[tuple[int, list[int]]]) -> Iterable[tuple[Tensor, Tensor]]:
        if self.workers == 0:
            return (self.fetch.__getitems__(request) for request in requests)
        if self._loader is None:
            self._loader = DataLoader(
                self.fetch,
                batch_sampler=_Requests(self._requests),  # type: ignore[arg-type]
                collate_fn=_as_it_is,
                num_workers=self.workers,
                persistent_workers=True,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=_leave_signals_to_training,
                # A generator of its own: making an iterator must not draw from the global one.
                generator=torch.Generator().manual_seed(0),
            )
        self._requests[:] = requests
        return self._loader


class IterableBatches:
    """From an iterable data set: in its own order, cut into batches as they come."""

    samples: int | None = None
    steps: int | None = None

    def __init__(
        self,
        dataset: IterableDataset[Any],
        batch_size: int,
        *,
        device: torch.device,
        share_last: bool,
        pipeline: Pipeline | None = None,
        seed: int | None = None,
        epochs: float = 1,
    ) -> None:
        self.dataset, self.batch_size, self.device, self.epochs = dataset, batch_size, device, epochs
        self.share_last, self.pipeline, self.augment, self.seed = share_last, pipeline, seed is not None, seed or 0

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        with rng.seeded_host(rng.key(self.seed, "stream", epoch)):
            stream = iter(self.dataset)
        # A stream can't be entered in the middle: what comes before is read and dropped.
        for step, samples in islice(enumerate(self._cut(stream, epoch)), first, None):
            images, targets = collate(samples)
            images = images.to(self.device)
            draw = None
            if self.augment:
                generator = rng.generator(self.seed, "augment", epoch, step)
                draw = Draw(generator=generator, progress=epoch / self.epochs)
            images = _prepared(images, self.pipeline, draw)
            yield Batch(images, targets.to(self.device), distinct_labels(targets))

    def _cut(self, samples: Iterator[Any], epoch: int) -> Iterator[list[Any]]:
        held: list[Any] = []
        for step in range(2**62):
            with rng.seeded_host(rng.key(self.seed, "fetch", epoch, step)):
                batch = list(islice(samples, self.batch_size))
            if not batch:
                break
            if self.share_last and held and len(batch) == 1:
                both = held + batch
                held, batch = both[: -(len(both) // 2)], both[-(len(both) // 2) :]
            if held:
                yield held
            held = batch
        if held:
            yield held

    def indices(self, epoch: int, step: int) -> list[int] | None:
        return None

    def damaged(self, epoch: int, step: int) -> list[int]:
        return []  # what has streamed by can't be asked for again


def _prepared(images: Tensor, pipeline: Pipeline | None, draw: Draw | None) -> Tensor:
    """A stacked batch (N, C, H, W) through the pipeline; vectors have nothing to prepare."""
    if pipeline is None or images.ndim != 4:
        return images
    return pipeline(images.permute(0, 2, 3, 1), None, draw)


class _Fetch(Dataset[Any]):
    """Fetches a batch from a data set, seeded for its place; works alike in this process and in a worker."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitems__(self, request: tuple[int, list[int]]) -> tuple[Tensor, Tensor]:
        seed, indices = request
        with rng.seeded_host(seed):
            # Only the plain class: a subclass may have changed what an item is.
            if type(self.dataset) is TensorDataset and len(self.dataset.tensors) == 2:
                images, labels = (tensor[indices] for tensor in self.dataset.tensors)
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


class _Requests:
    """The batch sampler of a loader that outlives epochs: it reads the list that the epoch filled."""

    def __init__(self, requests: list[tuple[int, list[int]]]) -> None:
        self.requests = requests

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter(list(self.requests))

    def __len__(self) -> int:
        return len(self.requests)


def _leave_signals_to_training(worker: int) -> None:
    """Ctrl-C and Slurm signal workers too: they must go on until training has finished its step."""
    told = []

    def ignore_first(number: int, frame: Any) -> None:
        told.append(number)
        if len(told) > 1:
            os._exit(0)

    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), ignore_first)


def _as_it_is(batch: Any) -> Any:
    return batch


def holds_bytes(dataset: Any) -> bool:
    """Whether all images come from ImageSets, through Subset and ConcatDataset: uint8, 0..255."""
    if isinstance(dataset, Subset):
        return holds_bytes(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(map(holds_bytes, dataset.datasets))
    return isinstance(dataset, ImageSet)


def make_batches(
    dataset: Dataset[Any],
    *,
    batch_size: int,
    device: torch.device,
    role: str,
    pipeline: Pipeline | None = None,
    seed: int | None = None,
    share_last: bool = False,
    workers: int = 0,
    epochs: float = 1,
) -> Batches:
    """Batches of any data set. With a seed they are shuffled, and augmented where the pipeline says so.

    pipeline: None scales an ImageSet's bytes to 0..1, and leaves the tensors of any other data set as they are.
    role: how the data set is called in an error. epochs: how long the training is, for what changes on its way.
    Raises InputError where the data set is empty.
    """
    samples = count_samples(dataset, role)
    if pipeline is None and holds_bytes(dataset):
        pipeline = Pipeline(scale=255.0)
    if isinstance(dataset, IterableDataset):
        return IterableBatches(
            dataset, batch_size, device=device, share_last=share_last, pipeline=pipeline, seed=seed, epochs=epochs
        )
    assert samples is not None
    plan = Plan(samples=samples, batch_size=batch_size, seed=seed, share_last=share_last)
    if isinstance(dataset, ImageSet) and pipeline is not None:
        if dataset.pixels is not None:
            pixels, labels = torch.from_numpy(dataset.pixels), torch.from_numpy(dataset.labels)
            return MemoryBatches(pixels, labels, plan, pipeline, device=device, epochs=epochs)
        if dataset.cached is not None:
            pixels, labels = torch.from_numpy(dataset.cached.pixels), torch.from_numpy(dataset.labels)
            rows = torch.from_numpy(dataset.cached.rows)
            return MemoryBatches(pixels, labels, plan, pipeline, device=device, rows=rows, epochs=epochs)
    return DatasetBatches(dataset, plan, device=device, pipeline=pipeline, workers=workers, epochs=epochs)
