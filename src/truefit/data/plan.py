"""Which sample stands where in an epoch: the order and the cuts into batches, as a pure function."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from truefit import rng


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cuts `samples` samples into batches of `batch_size`; the last batch may be short.

    With a `seed` each epoch has its own order, a function of (seed, epoch); with None the order is the data
    set's. `share_last`: where the last batch would hold a single sample, which BatchNorm can't take, the last
    two batches share their samples evenly (64 + 1 becomes 33 + 32).
    """

    samples: int
    batch_size: int
    seed: int | None
    share_last: bool = False

    @property
    def steps(self) -> int:
        """Number of batches an epoch: ceil(samples / batch_size)."""
        return -(-self.samples // self.batch_size)

    @property
    def sizes(self) -> list[int]:
        """Samples of each batch."""
        full, rest = divmod(self.samples, self.batch_size)
        sizes = [self.batch_size] * full + [rest] * (rest > 0)
        if self.share_last and rest == 1 and full:
            both = self.batch_size + 1
            sizes[-2:] = [both - both // 2, both // 2]
        return sizes

    def batches(self, epoch: int) -> list[Tensor]:
        """The sample indices of each batch of this epoch, int64."""
        if self.seed is None:
            order = torch.arange(self.samples)
        else:
            order = torch.randperm(self.samples, generator=rng.generator(self.seed, "order", epoch))
        return list(torch.split(order, self.sizes))
