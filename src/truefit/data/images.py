"""Which pixels does an image file hold? Every file that truefit sees is decoded here.

Training, evaluation and prediction all use `read_pixels`, so a file gives the same pixels wherever it is read.
"""

from __future__ import annotations

import io
import math
import os
import stat
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from truefit.data.jpeg import decode_plain

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""Suffixes, in lower case, of the files taken for images; upper case is accepted too."""

S = TypeVar("S")
T = TypeVar("T")
Resize = Literal["crop", "stretch"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "bilinear-aliased", "bicubic-aliased"]
"""How pixels are computed when an image is scaled; `-aliased`: without antialiasing where it becomes smaller."""
Pixels = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""


class Encoded(Protocol):
    """Many image files by their row, each by its path or as its bytes; any sequence of these is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Path | str | bytes: ...


# Only these decoders are tried: others of Pillow's (EPS starts Ghostscript) are not for untrusted files.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ALIASED = "-aliased"
_CHUNK = 64
# Below this mean file size the Python code around a decoder, which holds the GIL, outweighs its C code, which does not:
# threads then gain nothing (50,000 JPEG files of 32 x 32: 1.5 s with one thread, 1.4 to 1.8 s with two).
_THREADS_FROM_BYTES = 16 * 1024


class UnreadableImage(Exception):
    """An image cannot be decoded; the text is a short reason, without the file's name."""


class TooManyPixels(UnreadableImage):
    """An image has more pixels than are decoded."""


class MixedSizes(Exception):
    """Images have no common square size, where one was needed; the text names two sizes."""


def is_image_name(name: str) -> bool:
    """Whether the suffix, in any case, is that of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122  called for every file


def read_image(source: Path | str | bytes | Image.Image, *, max_pixels: int | None = None) -> Image.Image:
    """Decode `source` (a path, a file's bytes, or an image of Pillow) to an upright RGB image of 8 bits.

    The EXIF orientation is applied. Of an animation the first frame is taken. 16 bits of grey are scaled to 8
    (divided by 257, rounded), not clipped. Transparent pixels are laid on white, as a browser or viewer shows
    them: drawings and logos are mostly dark on nothing and would vanish on black, and simply dropping alpha
    would bring up colours that nobody ever saw. CMYK is converted without a colour profile.
    No warning of Pillow gets out; a given image is not changed. max_pixels: the most that are decoded, where less
    than `PIL.Image.MAX_IMAGE_PIXELS` is wanted.

    Raises `UnreadableImage` for everything that is not a whole image of one of the known formats: an absent
    or empty file, text, a truncated file; and `TooManyPixels`, which is one, beyond either of these limits.
    """
    with quiet_pillow():
        try:
            if isinstance(source, Image.Image):
                return _upright_rgb(source.copy(), max_pixels)
            content = source if isinstance(source, bytes) else _content(source)
            if not content:
                raise UnreadableImage("the file is empty (0 bytes)")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return _upright_rgb(image, max_pixels)
        except UnreadableImage:
            raise
        except UnidentifiedImageError as error:
            raise UnreadableImage("not a JPEG, PNG, WebP, BMP or GIF image") from error
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        except Image.DecompressionBombError as error:
            raise TooManyPixels(f"decompression bomb: {error}") from error
        except Exception as error:
            # Decoders meet broken files with errors of every kind: struct.error, SyntaxError, zlib.error.
            raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def read_pixels(
    source: Path | str | bytes | Image.Image,
    size: int | None,
    resize: Resize = "crop",
    interpolation: Interpolation = "bicubic",
    *,
    max_pixels: int | None = None,
) -> tuple[Pixels, tuple[int, int]]:
    """What `fit_image` makes of what `read_image` reads: uint8 (H, W, 3), and the image's (width, height) before.

    A JPEG that needs nothing but decoding takes a shorter way to the very same pixels. Raises as `read_image` does.
    """
    decoded, before = _decoded(source, size, max_pixels)
    return _fitted(decoded, size, resize, interpolation), before


def _decoded(
    source: Path | str | bytes | Image.Image, size: int | None, max_pixels: int | None = None
) -> tuple[Pixels | Image.Image, tuple[int, int]]:
    """The pixels, where they have the size and need nothing but decoding, else the image; its (width, height)."""
    if isinstance(source, str | Path):
        with suppress(Exception):  # of which `read_image` tells
            source = _content(source)
    if isinstance(source, bytes) and size is not None and size * size <= _most_pixels(max_pixels):
        plain = decode_plain(source, size)
        if plain is not None:
            return plain, (size, size)
    image = read_image(source, max_pixels=max_pixels)
    return image, image.size


def _fitted(decoded: Pixels | Image.Image, size: int | None, resize: Resize, interpolation: Interpolation) -> Pixels:
    return fit_image(decoded, size, resize, interpolation) if isinstance(decoded, Image.Image) else decoded


def fit_image(
    image: Image.Image, size: int | None, resize: Resize = "crop", interpolation: Interpolation = "bicubic"
) -> Pixels:
    """The pixels of an RGB image as uint8 (H, W, 3): H = W = `size`, or its own size where `size` is None.

    `crop` takes the square in the middle, as wide as the shorter side, and scales it; `stretch` scales both
    sides whatever the proportions. Scaling is bicubic with antialiasing unless `interpolation` says otherwise. An
    image that has `size` already is returned bit for bit.
    """
    width, height = image.size
    if size is not None and (width, height) != (size, size):
        box = (0, 0, width, height)
        if resize == "crop":
            # Whole source pixels, so that a side which has the size already is cut and not interpolated.
            short = min(width, height)
            left, top = (width - short) // 2, (height - short) // 2
            box = (left, top, left + short, top + short)
        if interpolation.endswith(_ALIASED):
            # A transform looks at the nearest source pixels alone, however much smaller the image becomes.
            how = _RESAMPLING[interpolation.removesuffix(_ALIASED)]
            image = image.transform((size, size), Image.Transform.EXTENT, box, how)
        else:
            image = image.resize((size, size), _RESAMPLING[interpolation], box=box)
    return np.array(image)


def resize_pixels(
    pixels: Pixels, size: int, resize: Resize = "crop", interpolation: Interpolation = "bicubic"
) -> Pixels:
    """`fit_image` for uint8 (n, H, W, 3): gives (n, size, size, 3), the very same array if it fits."""
    if pixels.shape[1:3] == (size, size):
        return pixels
    out = np.empty((len(pixels), size, size, 3), np.uint8)
    for row, image in enumerate(pixels):
        out[row] = fit_image(Image.fromarray(image), size, resize, interpolation)
    return out


def first_size(paths: Encoded) -> tuple[int, int] | None:
    """(width, height) of the first image whose header can be read, before any rotation; None if none can."""
    with quiet_pillow():
        for row in range(len(paths)):
            path = paths[row]
            try:
                source = io.BytesIO(path) if isinstance(path, bytes) else path
                with Image.open(source, formats=_FORMATS) as image:
                    return image.size
            except Exception:
                continue  # the reason comes out when the file is decoded
    return None


def decode_files(
    paths: Encoded,
    *,
    size: int,
    resize: Resize = "crop",
    interpolation: Interpolation = "bicubic",
    own_size: bool = False,
    keep: bool = True,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[Pixels | None, dict[int, str]]:
    """Decode many files; none of them stops the others.

    Returns uint8 (n, size, size, 3) in the order of `paths`, and the reason for each unreadable file by its
    index (its pixels are zero). With `keep=False` every file is decoded only to see that it can be, and the
    first item is None. With `own_size` nothing may need resizing: `MixedSizes` is raised at the first
    image that is not `size` x `size`. `threads` is chosen from the size of the files (one for small files)
    unless given.
    """
    out = np.zeros((len(paths), size, size, 3), np.uint8) if keep else None
    unreadable: dict[int, str] = {}

    def decode(rows: range) -> dict[int, str]:
        failed = {}
        for row in rows:
            try:
                decoded, (width, height) = _decoded(paths[row], size)
            except UnreadableImage as reason:
                failed[row] = str(reason)
                continue
            if own_size and (width, height) != (size, size):
                raise MixedSizes(f"{size} x {size} and {width} x {height}")
            if out is not None:
                out[row] = _fitted(decoded, size, resize, interpolation)
        return failed

    for _, failed in in_chunks(decode, paths, threads=threads, on_progress=on_progress):
        unreadable.update(failed)
    return out, unreadable


def in_chunks(
    work: Callable[[range], T],
    paths: Encoded,
    *,
    largest: int = _CHUNK,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Generator[tuple[range, T]]:
    """`work(rows)` for consecutive ranges of rows of `paths`, at most `largest` rows each, in their order.

    Runs on as many threads as help for files of this size (or `threads`), only a few ranges ahead of whoever
    takes the results, so that these do not pile up. After an error the rest is not run.
    """
    threads = threads or _fitting_threads(paths)
    step = max(1, min(largest, -(-len(paths) // threads)))
    chunks = [range(at, min(at + step, len(paths))) for at in range(0, len(paths), step)]
    results = map(work, chunks) if threads == 1 else mapped(work, chunks, threads)
    with quiet_pillow():  # entered once here, so that the threads find it entered
        for chunk, result in zip(chunks, results, strict=True):
            yield chunk, result
            if on_progress is not None:
                on_progress(chunk.stop, len(paths))


def mapped(work: Callable[[S], T], chunks: Sequence[S], threads: int) -> Generator[T]:
    """`map` by so many threads, which are a few chunks ahead of whoever takes the results."""
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[Future[T]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _fitting_threads(paths: Encoded) -> int:
    """One for small files and in a worker process (which is one of several already), else one a core."""
    # Not imported for this: a process that has not got torch's loader is no worker of it.
    loader = sys.modules.get("torch.utils.data")
    if loader is not None and loader.get_worker_info() is not None:
        return 1
    sizes = []
    # What gives bytes has to read them to know their size.
    some = 64 if isinstance(paths, list | tuple) else 4
    for row in range(0, len(paths), max(1, len(paths) // some)):
        try:
            path = paths[row]
            sizes.append(len(path) if isinstance(path, bytes) else os.stat(path).st_size)  # noqa: PTH116
        except (OSError, UnreadableImage):
            continue
    large = bool(sizes) and sum(sizes) / len(sizes) >= _THREADS_FROM_BYTES
    return min(os.cpu_count() or 1, 16) if large else 1


def _content(path: Path | str) -> bytes:
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  a pipe would be waited for
        raise UnreadableImage("not a regular file")
    with open(path, "rb") as file:  # noqa: PTH123  faster than Path.open, and this is called for every file
        return file.read()


def _most_pixels(wanted: int | None) -> float:
    return min((most for most in (wanted, Image.MAX_IMAGE_PIXELS) if most is not None), default=math.inf)


def _upright_rgb(image: Image.Image, max_pixels: int | None) -> Image.Image:
    width, height = image.size
    limit = _most_pixels(max_pixels)
    if width * height > limit:
        raise TooManyPixels(f"decompression bomb: {width} x {height} is more than {limit:,} pixels")
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    image = _rgb(image)
    if turn is not None:
        image = image.transpose(turn)
        image.info = {}  # without the orientation, which would turn it again the next time
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        # The pixels are whole; an EXIF block that cannot be parsed says nothing about which way is up.
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels (mode F), which have no fixed range")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    # A file's image is our own and needs no copy (a tenth of the time of a small file).
    return image if image.mode == "RGB" and isinstance(image, ImageFile) else image.convert("RGB")


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters = warnings.catch_warnings()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """No warnings from Pillow, in any thread; the filters are as before when the last one leaves.

    `warnings.catch_warnings` alone would not do: it keeps the filters of the whole process, and threads that
    enter and leave it in turn would leave the wrong ones behind.
    """
    global _quiet_depth, _quiet_filters
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_filters.__exit__(None, None, None)
