"""Which samples went by? A fingerprint of batches while they are used, without a further pass over the data."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from truefit import dist
from truefit.data.batch import Batch, Batches

VALUES = 1024


class Watched:
    """Hands batches on, and takes the fingerprint of what the first epoch showed: images and targets, in order.

    Of each image at most 1,024 values, evenly spaced, so that it costs next to nothing. Images count as the network
    gets them: other sizes, or random changes by the data set, give another fingerprint. Batch sizes do not count.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        # What each sample was, with where it stands: other processes have seen others.
        self._digests: list[tuple[int, bytes]] = []

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
        self._digests = []
        for batch in self.batches.epoch(epoch, first):
            images = batch.images.reshape(len(batch), -1)
            # Rounded up: never more values than said.
            few = images[:, :: max(1, -(-images.shape[1] // VALUES))].float().cpu().contiguous()
            kind = tuple(batch.images.shape[1:])
            rows = batch.rows.tolist() if batch.rows is not None else range(len(self._digests), 2**62)
            for row, image, target in zip(rows, few.numpy(), batch.targets.tolist(), strict=False):
                digest = hashlib.blake2b(image.tobytes(), digest_size=32)
                digest.update(str((kind, target)).encode())
                self._digests.append((row, digest.digest()))
            yield batch

    def fingerprint(self) -> str:
        """`blake2b-1024:` and 64 hexadecimal digits."""
        found = sorted(one for part in dist.gathered(self._digests) for one in part)
        whole = hashlib.blake2b(b"".join(digest for _, digest in found), digest_size=32)
        return f"blake2b-{VALUES}:{whole.hexdigest()}"
