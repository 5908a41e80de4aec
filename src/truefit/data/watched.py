"""Which samples went by? A fingerprint of batches while they are used, without a further pass over the data."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from truefit.data.batches import Batch, Batches

VALUES = 1024


class Watched:
    """Hands batches on, and takes the fingerprint of what the first epoch showed: images and targets, in order.

    Of each image at most 1,024 values, evenly spaced, so that it costs next to nothing. Images count as the network
    gets them: other sizes, or random changes by the data set, give another fingerprint. Batch sizes do not count.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.digest = hashlib.blake2b(digest_size=32)

    @property
    def samples(self) -> int | None:
        """As that of the batches."""
        return self.batches.samples

    @property
    def steps(self) -> int | None:
        """As that of the batches."""
        return self.batches.steps

    @property
    def batch_size(self) -> int:
        """As that of the batches."""
        return self.batches.batch_size

    def indices(self, epoch: int, step: int) -> list[int] | None:
        """As those of the batches."""
        return self.batches.indices(epoch, step)

    def damaged(self, epoch: int, step: int) -> list[int]:
        """As those of the batches."""
        return self.batches.damaged(epoch, step)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches, one after the other."""
        self.digest = hashlib.blake2b(digest_size=32)
        for batch in self.batches.epoch(epoch, first):
            images = batch.images.reshape(len(batch), -1)
            # Rounded up: never more values than said.
            few = images[:, :: max(1, -(-images.shape[1] // VALUES))].float().cpu().contiguous()
            for image, target in zip(few.numpy(), batch.targets.tolist(), strict=True):
                self.digest.update(image.tobytes())
                self.digest.update(str((tuple(batch.images.shape[1:]), target)).encode())
            yield batch

    def fingerprint(self) -> str:
        """`blake2b-1024:` and 64 hexadecimal digits."""
        return f"blake2b-{VALUES}:{self.digest.hexdigest()}"
