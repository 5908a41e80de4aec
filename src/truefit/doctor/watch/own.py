"""truefit's own loop: its passes, which come from no DataLoader, seen as passes over one; and its run folders."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import RandomSampler, SequentialSampler

from truefit.data.batch import Batch, Batches
from truefit.data.batches import DatasetBatches, IterableBatches, MemoryBatches
from truefit.doctor.log import Pass
from truefit.doctor.watch import windows
from truefit.doctor.watch.loaders import MOST_LABELS, begin_or_end, leave, new_pass, note_batch
from truefit.doctor.watch.watch import Watch


class Loader:
    """What checks ask of a DataLoader, of batches that truefit makes: data set, sampler, batch size, length."""

    drop_last = False

    def __init__(self, dataset: Any, batches: Batches, *, shuffles: bool) -> None:
        self.dataset, self.batch_size, self.steps = dataset, batches.batch_size, batches.steps
        self.sampler: Any = None
        if batches.samples is not None:
            # Made, never asked for an order: that is truefit's own.
            self.sampler = RandomSampler(dataset) if shuffles else SequentialSampler(dataset)

    def __len__(self) -> int:
        if self.steps is None:
            raise TypeError("batches of an iterable data set have no length")
        return self.steps


class Held:
    """Images in memory as a data set: what `MemoryBatches` draws from."""

    def __init__(self, batches: MemoryBatches) -> None:
        self.images, self.rows = batches.images, batches.rows
        self.labels: npt.NDArray[np.int64] = batches.labels.cpu().numpy()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = index if self.rows is None else int(self.rows[index])
        return self.images[row], int(self.labels[index])


class Noted:
    """Batches that are handed on as they come, each pass written down; in training cut where the watch has limits."""

    def __init__(self, watch: Watch, batches: Batches, loader: Loader, *, trains: bool) -> None:
        self.watch, self.batches, self.loader, self.trains = watch, batches, loader, trains

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        watch, limits = self.watch, self.watch.limits
        if self.trains:
            begin_or_end(watch, self.loader)
        current = new_pass(watch, self.loader)
        plan = getattr(_inner(self.batches), "plan", None)
        rows = plan.batches(epoch)[first:] if plan is not None else None
        with closing(self.batches.epoch(epoch, first)) as stream:
            while True:
                watch.check_time()
                watch.current = current
                if self.trains and limits is not None and current.batches >= limits.steps:
                    watch.log.cut = True
                    return self._end(current, "cut")
                # What fetches the samples, workers' DataLoader included, is no pass of its own.
                was, watch.on = watch.on, False
                try:
                    batch = next(stream, None)
                finally:
                    watch.on = was
                if batch is None:
                    return self._end(current, "complete")
                if rows is not None and len(current.order) < MOST_LABELS:
                    current.order.extend(rows[current.batches].tolist())
                current.batches += 1
                windows.fetched(watch)
                note_batch(watch, current, [batch.images, batch.targets])
                yield batch

    def _end(self, current: Pass, how: str) -> None:
        current.ended, current.end = how, self.watch.now()
        leave(self.watch, current)


def install(watch: Watch) -> None:
    """Wrap the two functions of truefit's loop, and the making and opening of run folders."""
    from truefit import loop
    from truefit.runs.folder import RunFolder

    loaders: dict[tuple[int, bool], tuple[Any, Loader]] = {}

    def noted(batches: Batches, *, trains: bool) -> Batches:
        inner = _inner(batches)
        source = _source(inner)
        if source is None:
            return batches
        plan = getattr(inner, "plan", None)
        shuffles = plan is not None and plan.seed is not None
        key = (source.data_ptr() if isinstance(source, Tensor) else id(source), shuffles)
        if key not in loaders:
            dataset = Held(inner) if isinstance(inner, MemoryBatches) else source
            loaders[key] = (source, Loader(dataset, inner, shuffles=shuffles))
        return Noted(watch, batches, loaders[key][1], trains=trains)

    def make(trains: bool, original: Any) -> Any:
        def run(network: Any, batches: Batches, *args: Any, **kwargs: Any) -> Any:
            if not watch.listening():
                return original(network, batches, *args, **kwargs)
            return original(network, noted(batches, trains=trains), *args, **kwargs)

        return run

    watch.patch(loop, "train_epoch", partial(make, True))
    watch.patch(loop, "evaluate", partial(make, False))
    for name in ("create", "take", "open"):
        watch.patch(RunFolder, name, partial(_elsewhere, watch, name))


def _elsewhere(watch: Watch, name: str, original: Any) -> Any:
    """Where trainings are cut, a run is written, and read again, in the scratch folder."""

    @staticmethod  # type: ignore[misc]
    def place(path: Any, **options: Any) -> Any:
        if not watch.listening() or watch.scratch is None:
            return original(path, **options)
        there = Path(watch.place(Path(path).absolute()))
        if name == "open":
            return original(there if there.is_dir() else path, **options)
        watch.redirected.append(str(path))
        return original(there, **{**options, "overwrite": True} if name == "create" else options)

    return place


def _inner(batches: Any) -> Any:
    """The batches inside those that cut them short, or take their fingerprint."""
    while (inner := getattr(batches, "batches", None)) is not None:
        batches = inner
    return batches


def _source(batches: Batches) -> Any:
    """The data set, or the images in memory; None of batches of another kind."""
    if isinstance(batches, MemoryBatches):
        return batches.images
    if isinstance(batches, DatasetBatches):
        return batches.fetch.dataset
    return batches.dataset if isinstance(batches, IterableBatches) else None
