"""The beginning of an epoch: its first batches, as many as are asked for, or as there is time for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from truefit.data.batch import Batch, Batches


class Shortened:
    """`batches`, of which an epoch has only the first `most`.

    ends: asked before each further batch; True ends the epoch. The first is always given, so that no epoch is empty.
    """

    def __init__(self, batches: Batches, most: int, ends: Callable[[], bool] = lambda: False) -> None:
        self.batches, self.most, self.ends = batches, most, ends

    @property
    def steps(self) -> int | None:
        return self.most if self.batches.steps is None else min(self.most, self.batches.steps)

    @property
    def samples(self) -> int | None:
        return self.batches.samples if self.steps == self.batches.steps else self.most * self.batch_size

    @property
    def batch_size(self) -> int:
        return self.batches.batch_size

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        with closing(self.batches.epoch(epoch, first)) as stream:
            for step in range(first, self.most):
                if step and self.ends():
                    return
                batch = next(stream, None)
                if batch is None:
                    return
                yield batch

    def indices(self, epoch: int, step: int) -> list[int] | None:
        return self.batches.indices(epoch, step)

    def damaged(self, epoch: int, step: int) -> list[int]:
        return self.batches.damaged(epoch, step)
