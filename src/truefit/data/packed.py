"""Encoded images that lie inside of larger files: shards, tables, Arrow files. Read one by one, when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


class Packed(Protocol):
    """n encoded images (JPEG, PNG ...), by their row. Pickled for worker processes, which open the files anew."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> bytes:
        """The bytes of one image. Raises IndexError beyond the last."""
        ...

    def subset(self, rows: Rows) -> Packed:
        """The images at `rows`, in that order; nothing is read."""
        ...

    def names(self) -> Sequence[str]:
        """What to call each image in an error."""
        ...


class Joined:
    """The images of two, one after the other."""

    def __init__(self, first: Packed, second: Packed) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, row: int, /) -> bytes:
        return self.first[row] if row < len(self.first) else self.second[row - len(self.first)]

    def subset(self, rows: Rows) -> Packed:
        return Chosen(self, rows)

    def names(self) -> Sequence[str]:
        return [*self.first.names(), *self.second.names()]


class Chosen:
    """Those of the images that stand at `rows`, int64 (n,)."""

    def __init__(self, whole: Packed, rows: Rows) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int, /) -> bytes:
        return self.whole[int(self.rows[row])]

    def subset(self, rows: Rows) -> Packed:
        return Chosen(self.whole, self.rows[rows])

    def names(self) -> Sequence[str]:
        names = self.whole.names()
        return [names[row] for row in self.rows.tolist()]


class InMemory:
    """Encoded images that are held in memory, with what each is called."""

    def __init__(self, contents: Sequence[bytes], called: Sequence[str]) -> None:
        self.contents, self.called = contents, called

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, row: int, /) -> bytes:
        return self.contents[row]

    def subset(self, rows: Rows) -> Packed:
        return Chosen(self, rows)

    def names(self) -> Sequence[str]:
        return self.called
