"""Batches on the device, from images in memory, from any data set, or from a stream.

All three hand out `Batch`es for an epoch and are pure functions of (seed, epoch, position): the same epoch asked
twice is the same, whatever the number of workers.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

from truefit import rng
from truefit.data.augment import Draw, Pipeline
from truefit.data.batch import Batch, Batches
from truefit.data.collate import collate, count_samples, distinct_labels
from truefit.data.fetch import Fetch, Requests, as_it_is, leave_signals_to_training
from truefit.data.imageset import ImageSet, is_decoded_each_time
from truefit.data.mixing import Mixing
from truefit.data.plan import Plan
from truefit.data.processes import cores
from truefit.data.readers import Readers
from truefit.data.shares import is_dealt, share, taken
from truefit.precision import sent

# Image files from which on reading them is worth worker processes, and how many of these at most.
WORKERS_FROM, MOST_WORKERS = 2_000, 8


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

    def own(self, epoch: int, first: int) -> list[tuple[int, Tensor, slice]]:
        """For each step from `first` on that this process has a part in: its number, all its samples, and that part."""
        cut = list(enumerate(self.plan.batches(epoch)))[first:]
        if self.plan.seed is None:
            return [(step, rows, slice(0, len(rows))) for step, rows in cut if is_dealt(step)]
        return [(step, rows, share(len(rows))) for step, rows in cut]

    @cached_property
    def coins(self) -> Tensor:
        """(samples,) bool: which samples are mirrored in even epochs; the others are in odd ones.

        Alternating shows every image both ways in two epochs, which drawing anew does for half of them (source:
        Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.6).
        """
        return torch.rand(self.plan.samples, generator=rng.generator(self.plan.seed or 0, "mirror")) < 0.5

    def draw(self, rows: Tensor, part: slice | Tensor, epoch: int, step: int) -> Draw | None:
        """What decides the augmentation of this part of the samples `rows`; None where nothing is augmented."""
        if self.plan.seed is None:
            return None
        coins = self.coins.index_select(0, taken(rows, part))
        return Draw(
            generator=rng.generator(self.plan.seed, "augment", epoch, step),
            mirrored=~coins if epoch % 2 else coins,
            progress=(epoch + step / self.plan.steps) / self.epochs,
            whole=len(rows),
            part=part,
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
        mixing: Mixing | None = None,
    ) -> None:
        super().__init__(plan, epochs)
        self.mixing = mixing
        self.images = images.to(device) if rows is None else images
        self.labels, self.rows = labels.to(device), rows
        self.distinct = distinct_labels(labels)
        self.pipeline = pipeline

    def damaged(self, epoch: int, step: int) -> list[int]:
        return []  # bytes are always finite

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        for step, whole, part in self.own(epoch, first):
            rows = taken(whole, part)
            if len(rows) == 0:
                yield Batch.without(len(whole), self.labels.device)
                continue
            images, targets = self._mixed(whole, part, epoch, step)
            yield Batch(images, targets, self.distinct, rows, len(whole))

    def _mixed(self, whole: Tensor, part: slice, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Images and targets of a part of the step's samples `whole`, mixed with others of the step where asked."""
        own = part.stop - part.start
        at: slice | Tensor = part
        if self.mixing is not None:
            how = self.mixing.draw(rng.key(self.plan.seed or 0, "mix", epoch, step), len(whole)).of(part)
            if own < len(whole):
                # Partners may be in the shares of other processes: they are prepared here too, as they are there.
                at = torch.cat([torch.arange(len(whole))[part], how.partner])
        rows = taken(whole, at)
        on_device = sent(rows, self.labels.device)
        targets = self.labels.index_select(0, on_device)
        images = self._prepared(rows, on_device, self.draw(whole, at, epoch, step))
        if self.mixing is None:
            return images, targets
        others = how.partner if own == len(whole) else torch.arange(own, 2 * own)
        others = sent(others, images.device)
        return self.mixing.mix(how, images[:own], targets[:own], images[others], targets[others])

    def _prepared(self, rows: Tensor, on_device: Tensor, draw: Draw | None) -> Tensor:
        """The images of these samples, whose numbers are on the host and on the device."""
        if self.rows is None:
            return self.pipeline(self.images, on_device, draw)
        stored = self.rows.index_select(0, rows)
        device = self.labels.device
        if self.images.device == device:
            return self.pipeline(self.images, stored, draw)
        return self.pipeline(sent(self.images.index_select(0, stored), device), None, draw)


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
        mixing: Mixing | None = None,
    ) -> None:
        super().__init__(plan, epochs)
        self.mixing = mixing
        self.fetch = Fetch(dataset)
        self.device, self.pipeline, self.workers = device, pipeline, workers
        files = workers > 0 and type(dataset) is ImageSet and is_decoded_each_time(dataset)
        self._readers = Readers(dataset, workers) if files else None  # type: ignore[arg-type]
        self._loader: DataLoader[Any] | None = None
        self._requests: list[tuple[int, list[int]]] = []

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        own = self.own(epoch, first)
        requests = [
            (self._key(epoch, step, part), taken(whole, part).tolist())
            for step, whole, part in own
            if part.start < part.stop
        ]
        complete = False
        try:
            fetched = iter(self._fetched(requests))
            for step, whole, part in own:
                if part.start == part.stop:
                    yield Batch.without(len(whole), self.device)
                    continue
                images, targets = next(fetched)
                labels = distinct_labels(targets)
                images, targets = sent(images, self.device), sent(targets, self.device)
                images = _prepared(images, self.pipeline, self.draw(whole, part, epoch, step))
                at = (self.plan.seed or 0, "mix", epoch, step, part.start)
                images, targets = _mixed(images, targets, self.mixing, at)
                yield Batch(images, targets, labels, taken(whole, part), len(whole))
            complete = next(fetched, None) is None
        finally:
            if not complete:
                # The workers end with their loader, now and not when a traceback is forgotten.
                self._loader = None
                if self._readers is not None:
                    self._readers.close()

    def damaged(self, epoch: int, step: int) -> list[int]:
        rows = self.plan.batches(epoch)[step].tolist()
        images, _ = self.fetch.__getitems__((self._key(epoch, step, slice(0, len(rows))), rows))
        finite = images.flatten(1).isfinite().all(dim=1).tolist()
        return [row for row, fine in zip(rows, finite, strict=True) if not fine]

    def _key(self, epoch: int, step: int, part: slice) -> int:
        """What the generators are seeded with for a data set's own code: another number for each part of a step."""
        own = (part.start,) if part.start else ()
        return rng.key(self.plan.seed or 0, "fetch", epoch, step, *own)

    def _fetched(self, requests: list[tuple[int, list[int]]]) -> Iterable[tuple[Tensor, Tensor]]:
        if self.workers == 0:
            return (self.fetch.__getitems__(request) for request in requests)
        if self._readers is not None:
            return self._readers.read([rows for _, rows in requests])
        if self._loader is None:
            self._loader = DataLoader(
                self.fetch,
                batch_sampler=Requests(self._requests),  # type: ignore[arg-type]
                collate_fn=as_it_is,
                num_workers=self.workers,
                persistent_workers=True,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=leave_signals_to_training,
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
        mixing: Mixing | None = None,
    ) -> None:
        self.mixing = mixing
        self.dataset, self.batch_size, self.device, self.epochs = dataset, batch_size, device, epochs
        self.share_last, self.pipeline, self.training, self.seed = share_last, pipeline, seed is not None, seed or 0

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        with rng.seeded_host(rng.key(self.seed, "stream", epoch)):
            stream = iter(self.dataset)
        done = 0
        # A stream can't be entered in the middle: what comes before is read and dropped. Each process reads all of it.
        for step, samples in enumerate(self._cut(stream, epoch)):
            whole, begin, done = len(samples), done, done + len(samples)
            if step < first or not (self.training or is_dealt(step)):
                continue
            part = share(whole) if self.training else slice(0, whole)
            if part.start == part.stop:
                yield Batch.without(whole, self.device)
                continue
            images, targets = collate(samples[part])
            labels = distinct_labels(targets)
            images, targets = sent(images, self.device), sent(targets, self.device)
            draw = None
            if self.training:
                generator = rng.generator(self.seed, "augment", epoch, step)
                draw = Draw(generator=generator, progress=epoch / self.epochs, whole=whole, part=part)
            images = _prepared(images, self.pipeline, draw)
            rows = torch.arange(begin, done)[part]
            at = (self.seed, "mix", epoch, step, part.start)
            images, targets = _mixed(images, targets, self.mixing, at)
            yield Batch(images, targets, labels, rows, whole)

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


def _mixed(images: Tensor, targets: Tensor, mixing: Mixing | None, at: tuple[int | str, ...]) -> tuple[Tensor, Tensor]:
    """A batch mixed within itself: of a data set's own samples no others are fetched for it. at: keys what is drawn."""
    if mixing is None:
        return images, targets
    how = mixing.draw(rng.key(*at), len(images))
    others = sent(how.partner, images.device)
    return mixing.mix(how, images, targets, images[others], targets[others])


def holds_bytes(dataset: Any) -> bool:
    """Whether all images come from ImageSets, through Subset and ConcatDataset: uint8, 0..255."""
    if isinstance(dataset, Subset):
        return holds_bytes(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(map(holds_bytes, dataset.datasets))
    return isinstance(dataset, ImageSet)


def reading_workers(dataset: Dataset[Any]) -> int:
    """Processes that read a data set by default: some for image files that are decoded in every epoch, else none."""
    many = type(dataset) is ImageSet and is_decoded_each_time(dataset) and len(dataset) >= WORKERS_FROM
    return min(cores(), MOST_WORKERS) if many and sys.executable else 0


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
    mixing: Mixing | None = None,
    balanced: Tensor | None = None,
    channels_last: bool = True,
) -> Batches:
    """Batches of any data set. With a seed they are shuffled, and augmented where the pipeline says so.

    pipeline: None scales an ImageSet's bytes to 0..1, and leaves the tensors of any other data set as they are.
    role: how the data set is called in an error. epochs: how long the training is, for what changes on its way.
    mixing: how images are mixed with others. balanced: the class of each sample, where an epoch is to have equally many
    of each. channels_last: how bytes lie in memory once they are scaled, where there is no pipeline.
    Raises InputError where the data set is empty.
    """
    samples = count_samples(dataset, role)
    more: dict[str, Any] = {"device": device, "epochs": epochs, "mixing": mixing}
    if pipeline is None and holds_bytes(dataset):
        pipeline = Pipeline(scale=255.0, channels_last=channels_last)
    if isinstance(dataset, IterableDataset):
        return IterableBatches(dataset, batch_size, share_last=share_last, pipeline=pipeline, seed=seed, **more)
    assert samples is not None
    plan = Plan(samples=samples, batch_size=batch_size, seed=seed, share_last=share_last, balanced=balanced)
    if isinstance(dataset, ImageSet) and pipeline is not None:
        if dataset.pixels is not None:
            pixels, labels = torch.from_numpy(dataset.pixels), torch.from_numpy(dataset.labels)
            return MemoryBatches(pixels, labels, plan, pipeline, **more)
        if dataset.cached is not None:
            pixels, labels = torch.from_numpy(dataset.cached.pixels), torch.from_numpy(dataset.labels)
            rows = torch.from_numpy(dataset.cached.rows)
            return MemoryBatches(pixels, labels, plan, pipeline, rows=rows, **more)
    return DatasetBatches(dataset, plan, pipeline=pipeline, workers=workers, **more)
