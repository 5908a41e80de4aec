"""Which sample stands where in an epoch: the order and the cuts into batches, as a pure function."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from truefit import rng


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cuts `samples` samples into batches of `batch_size`; the last batch may be short.

    With a `seed` each epoch has its own order, a function of (seed, epoch); with None the order is the data
    set's. `share_last`: where the last batch would hold a single sample, which BatchNorm can't take, the last
    two batches share their samples evenly (64 + 1 becomes 33 + 32). `balanced`: the class of each sample, (samples,)
    int64, where an epoch is to have equally many of each class (see `counts`).
    """

    samples: int
    batch_size: int
    seed: int | None
    share_last: bool = False
    balanced: Tensor | None = field(default=None, compare=False)

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
            if self.balanced is not None:
                order = _evenly(self.balanced, self.seed, epoch)[order]
        return list(torch.split(order, self.sizes))


def counts(classes: Tensor) -> dict[int, int]:
    """How many samples of each class a balanced epoch has, for the class of each sample: an equal share of the epoch,
    one more in the first classes where it can't be divided. A class without samples has none.
    """
    present = sorted(set(classes.tolist()))
    each, more = divmod(len(classes), len(present))
    return {label: each + (place < more) for place, label in enumerate(present)}


def _evenly(classes: Tensor, seed: int, epoch: int) -> Tensor:
    """The samples of a balanced epoch, class after class: each as often as all others of its class, or once more."""
    chosen = []
    for label, wanted in counts(classes).items():
        rows = (classes == label).nonzero()[:, 0]
        shuffled = rows[torch.randperm(len(rows), generator=rng.generator(seed, "balance", epoch, label))]
        chosen.append(shuffled.repeat(-(-wanted // len(rows)))[:wanted])
    return torch.cat(chosen)
