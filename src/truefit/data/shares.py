"""What of an epoch belongs to this process: a share of each training batch, whole batches of an evaluation.

A training batch is cut into shares, so that the step is that of the whole batch. An evaluation's batches are dealt and
never cut: their size decides the last bits of what a network gives.
"""

from __future__ import annotations

from torch import Tensor

from truefit import dist


def share(samples: int, processes: int | None = None, rank: int | None = None) -> slice:
    """This process's part of a training batch of so many samples, by position.

    As even as possible; no part holds a single sample, which BatchNorm can't take, unless the batch does. The last
    parts may be empty. processes, rank: those of this process where they are not given.
    """
    count, number = processes or dist.world(), dist.rank() if rank is None else rank
    if count == 1:
        return slice(0, samples)
    pieces = max(1, min(count, samples // 2))
    size, larger = divmod(samples, pieces)
    begin = min(number, pieces) * size + min(number, larger)
    return slice(min(begin, samples), min(begin + size + (number < larger), samples))


def taken(rows: Tensor, part: slice | Tensor) -> Tensor:
    """That part of the rows, a slice or positions; the very same tensor where it is all of them, at no cost."""
    if isinstance(part, Tensor):
        return rows.index_select(0, part)
    return rows if part.stop - part.start == len(rows) else rows[part]


def is_dealt(number: int) -> bool:
    """Whether the batch with this number (from 0) of an evaluation is one for this process."""
    return number % dist.world() == dist.rank() % dist.world()
