"""What a client may ask of the service, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass

from truefit.config import require


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of the service.

    max_bytes: of a request's body. max_pixels: of an image, before it is resized. batch: images that are classified
    at a time. wait: milliseconds that the first of a batch waits for others. queue: images that may wait; more are
    refused. timeout: seconds from a request's first byte to its answer.
    """

    max_bytes: int = 10 * 2**20
    max_pixels: int = 40_000_000
    batch: int = 32
    wait: float = 2.0
    queue: int = 256
    timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "batch", "queue"):
            require(getattr(self, name) >= 1, name.replace("_", "-"), getattr(self, name), "at least 1")
        require(self.wait >= 0, "wait", self.wait, "0 or more milliseconds")
        require(self.timeout > 0, "timeout", self.timeout, "seconds above 0")
