"""What does reading an image once show? Digest, size, mode, rotation, brightness, sharpness, and a thumbnail."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from truefit.data.images import Pixels, Progress, UnreadableImage, in_chunks, read_image

THUMBNAIL = 32
"""Side of a thumbnail in pixels."""

_ORIENTATION = 0x0112
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """One row an image; rows of unreadable images hold zeros.

    readable: bool (n,). reasons: row -> why it can't be read, or why it is cut short though pixels come out.
    pixel_digest: 16 bytes over the decoded upright RGB pixels, b"" where unreadable. size: int64 (n, 2), width and
    height, upright. mode: Pillow's name of the file's mode. orientation: EXIF, 1 is upright. brightness, deviation:
    float32 (n,), mean and standard deviation of luma, 0..255. sharpness: float32 (n,), mean absolute Laplacian of
    luma over its deviation. thumbnails: uint8 (n, 32, 32, 3).
    """

    readable: npt.NDArray[np.bool_]
    reasons: dict[int, str]
    pixel_digest: list[bytes]
    size: npt.NDArray[np.int64]
    mode: list[str]
    orientation: npt.NDArray[np.int64]
    brightness: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    thumbnails: Pixels


@dataclass(frozen=True, slots=True)
class _Header:
    mode: str
    orientation: int
    cut_short: str


def scan_files(paths: Sequence[str], *, on_progress: Progress | None = None) -> Facts:
    """Read every file once; none of them stops the others."""

    def read(row: int) -> tuple[Image.Image, _Header]:
        try:
            content = Path(paths[row]).read_bytes()
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        image = read_image(content)
        with Image.open(io.BytesIO(content)) as opened:
            try:
                orientation = int(opened.getexif().get(_ORIENTATION, 1)) if "exif" in opened.info else 1
            except Exception:  # a broken EXIF block says nothing
                orientation = 1
            return image, _Header(opened.mode, orientation, _cut_short(content, opened.format))

    return _scan(len(paths), read, paths, on_progress)


def scan_pixels(pixels: Pixels) -> Facts:
    """The same for images in memory, uint8 (n, H, W, 3)."""
    header = _Header("RGB", 1, "")
    return _scan(len(pixels), lambda row: (Image.fromarray(pixels[row]), header), ("",) * len(pixels), None)


def _scan(
    n: int,
    read: Callable[[int], tuple[Image.Image, _Header]],
    paths: Sequence[str],
    on_progress: Progress | None,
) -> Facts:
    facts = Facts(
        readable=np.zeros(n, bool),
        reasons={},
        pixel_digest=[b""] * n,
        size=np.zeros((n, 2), np.int64),
        mode=[""] * n,
        orientation=np.ones(n, np.int64),
        brightness=np.zeros(n, np.float32),
        deviation=np.zeros(n, np.float32),
        sharpness=np.zeros(n, np.float32),
        thumbnails=np.zeros((n, THUMBNAIL, THUMBNAIL, 3), np.uint8),
    )

    def work(rows: range) -> None:
        for row in rows:
            try:
                image, header = read(row)
            except UnreadableImage as reason:
                facts.reasons[row] = str(reason)
                continue
            if header.cut_short:
                facts.reasons[row] = header.cut_short
            pixels = np.asarray(image)
            facts.readable[row] = True
            digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=str(image.size).encode())
            facts.pixel_digest[row] = digest.digest()
            facts.size[row] = image.size
            facts.mode[row] = header.mode
            facts.orientation[row] = header.orientation
            facts.thumbnails[row] = _thumbnail(image)
            luma = (pixels if max(image.size) <= 256 else np.asarray(_reduced(image))) @ _LUMA
            facts.brightness[row] = luma.mean()
            facts.deviation[row] = deviation = luma.std()
            facts.sharpness[row] = _laplacian(luma) / max(float(deviation), 1.0)

    for _ in in_chunks(work, paths, on_progress=on_progress):
        pass
    return facts


def _thumbnail(image: Image.Image) -> Pixels:
    if image.size != (THUMBNAIL, THUMBNAIL):
        image = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image)


def _reduced(image: Image.Image) -> Image.Image:
    """At most 256 pixels on the longer side, so that sharpness means the same for every camera."""
    scale = 256 / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _laplacian(luma: npt.NDArray[np.float32]) -> float:
    if min(luma.shape) < 3:
        return 0.0
    middle = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    return float(np.abs(middle).mean())


def _cut_short(content: bytes, kind: str | None) -> str:
    """A reason where a file that decodes has no end: decoders forgive a missing end marker, others do not."""
    # FF DA begins the compressed data and cannot occur inside it; FF D9 ends the image.
    if kind == "JPEG" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        return "the end marker is missing: the file is cut short"
    if kind == "PNG" and b"IEND" not in content[-1024:] and b"IEND" not in content:
        return "the end chunk is missing: the file is cut short"
    return ""
