"""What the loop is given: one step's samples, and what it may ask of its data."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Images (N, C, H, W) and targets (N,) int64 on the device: what this process has of one step's samples.

    Where images are mixed with others, targets are float (N, K). `labels`: those that occur in this batch (or in the
    whole set), sorted, on the host; None where targets are not class indices. `rows`: the samples' indices, (N,) int64,
    on the host. `whole`: how many samples the step has in all processes; None where all are here.
    """

    images: Tensor
    targets: Tensor
    labels: tuple[int, ...] | None
    rows: Tensor | None = None
    whole: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def samples(self) -> int:
        """How many samples the step has, those of other processes included."""
        return len(self) if self.whole is None else self.whole

    @classmethod
    def without(cls, whole: int, device: torch.device) -> Batch:
        """What a process has of a step with fewer samples than processes: nothing."""
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        return cls(torch.empty(0, device=device), nothing, (), torch.empty(0, dtype=torch.int64), whole)

    def parts(self, count: int, full: int) -> list[Batch]:
        """Cut into `count` parts of a full batch of `full` samples.

        A short batch gives fewer parts, as even as possible, so that none is left with a single sample; an empty one
        gives none.
        """
        if len(self) == 0:
            return []
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
