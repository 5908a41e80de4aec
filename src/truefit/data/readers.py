"""Image files decoded by other processes, ahead of the step that wants them."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing

import torch
from torch import Tensor

from truefit.data.images import Pixels, mapped
from truefit.data.imageset import ImageSet, decoder_of, files_of, whole
from truefit.data.processes import Processes, processes
from truefit.errors import warn


class Readers:
    """Decodes the files of a set in `count` processes, which have no torch in them: they take a tenth of the memory of
    torch's workers, which are copies of this process. They are started when first needed, and end with this object.

    images: a set whose images are files that are decoded each time (`is_decoded_each_time`).
    """

    def __init__(self, images: ImageSet, count: int) -> None:
        self.images, self.count = images, count
        self._running: Processes | None = None
        self._reading: Generator[tuple[Tensor, Tensor]] | None = None
        self._end = ExitStack()
        weakref.finalize(self, self._end.close)

    def read(self, batches: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each list of indices in turn: images, uint8 (n, 3, H, W), and labels, int64 (n,) or (n, K).

        Some batches ahead of whoever takes them. Raises InputError where a file can no longer be read.
        """
        self._reading = self._read(batches)
        return self._reading

    def close(self) -> None:
        """End the processes now; another epoch starts new ones."""
        if self._reading is not None:
            self._reading.close()  # waits for those that are decoding
        self._end.close()
        self._running = None

    def _read(self, batches: Sequence[list[int]]) -> Generator[tuple[Tensor, Tensor]]:
        if self._running is None:
            try:
                self._running = self._end.enter_context(processes(self.count))
            except OSError as error:
                warn(f"no processes can be started that decode images ({error}): this one does it")
                for rows in batches:
                    files = files_of(self.images, rows)
                    yield self._batch(rows, whole(self.images, files, *decoder_of(self.images)(files)))
                return
        # The threads only wait for the processes.
        with closing(mapped(self._decoded, batches, self.count)) as found:
            for rows, pixels in zip(batches, found, strict=True):
                yield self._batch(rows, pixels)

    def _batch(self, rows: list[int], pixels: Pixels) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(self.images.labels[rows])

    def _decoded(self, rows: list[int]) -> Pixels:
        assert self._running is not None
        decode, files = decoder_of(self.images, threads=1), files_of(self.images, rows)
        try:
            found = self._running.call(decode, files)
        except OSError as error:
            warn(f"{error}; its images are decoded by this process")
            found = decode(files)
        return whole(self.images, files, *found)
