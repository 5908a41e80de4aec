"""What does a file of decoded images look like, and is it whole?

It holds the pixels, uint8 (n, H, W, 3), then an index (a row of `ROW` for each image, their names, a description in
JSON), then a tail with the index's lengths and digest. It is written beside its place, forced to disk and moved there
whole; nothing without a right tail, or of another length, is ever used. Every image has a digest of its pixels.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import numpy.typing as npt

from truefit.data.images import Pixels
from truefit.errors import InputError

FORMAT = 1
CHECKED_BYTES = 2**30
"""Bytes of pixels that `CacheFile.check_pixels` compares with their digests."""

SUFFIX, UNFINISHED, _LOCK = ".pixels", ".unfinished", ".lock"
DIGEST = 16
"""Bytes of the digest of an image or a file; a digest of zeros stands for a file that could not be read."""

ROW = np.dtype([("stat", "<i8", (4,)), ("content", "<u8", (2,)), ("pixels", "<u8", (2,)), ("own_size", "?")])
"""stat: bytes, times of modification and change in ns, inode of the image file; content: digest of its bytes;
pixels: digest of the decoded image; own_size: whether the image had the size of the cache by itself."""

_TAIL = struct.Struct("<8sQQQ32s")  # magic; bytes of rows, names and description; digest of these three
_MAGIC = b"truefitC"

RowsOfFile = npt.NDArray[np.int64]


class Damaged(Exception):
    """A file of the cache is not what was written, or was written by another version."""


def digest(content: bytes | memoryview) -> bytes:
    """blake2b, 16 bytes."""
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def digests_of(images: Pixels) -> bytes:
    """The digest of each image of (n, H, W, 3), one after the other."""
    return b"".join(digest(image.data) for image in images)


class CacheFile:
    """A file of the cache, opened and found whole. Pickled by its path and digest, so that workers map it anew.

    rows:       the index, `ROW` (m,)
    about:      folder, image_size, resize, decoder
    unreadable: by row, why a file could not be decoded; its pixels are zero
    pixels:     uint8 (m, H, W, 3), mapped privately: what is written into it never reaches the file
    """

    def __init__(self, path: Path) -> None:
        """Reads the index, no pixels. Raises OSError (FileNotFoundError) and, where it is damaged, Damaged."""
        self.path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _TAIL.size:
                raise Damaged("it is too short")
            file.seek(size - _TAIL.size)
            magic, *lengths, self.digest = _TAIL.unpack(file.read(_TAIL.size))
            start = size - _TAIL.size - sum(lengths)
            if magic != _MAGIC or start < 0:
                raise Damaged("its tail is damaged")
            file.seek(start)
            parts = [file.read(length) for length in lengths]
            if _index_digest(parts) != self.digest:
                raise Damaged("its index is damaged")
            self.about: dict[str, Any] = json.loads(parts[2])
            if self.about["format"] != FORMAT:
                raise Damaged("it has another format")
            self.rows = np.frombuffer(parts[0], ROW)
            self._names = parts[1]
            self.unreadable = {int(row): str(reason) for row, reason in self.about["unreadable"].items()}
            side = int(self.about["image_size"])
            self.shape = (len(self.rows), side, side, 3)
            if start != self._image_bytes * len(self.rows):
                raise Damaged("its length is wrong")
            # Mapped while it is open: it may be replaced at any time, and the one described above must be mapped.
            self.pixels = _mapped(file, self.shape)

    @property
    def _image_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * 3

    def check_pixels(self) -> None:
        """Compare images with their digests: all up to CHECKED_BYTES, else evenly spaced ones. Raises Damaged.

        They are read and not mapped: what is read does not count as this process's memory.
        """
        step = -(-len(self.rows) * self._image_bytes // CHECKED_BYTES)
        # Another sample each time: what one run overlooks another one finds.
        first = int.from_bytes(os.urandom(4), "little") % step
        wanted = self.rows["pixels"].tobytes()
        with self.path.open("rb") as file:
            for row in range(first, len(self.rows), step):
                if step > 1:
                    file.seek(row * self._image_bytes)
                if digest(file.read(self._image_bytes)) != wanted[row * DIGEST : (row + 1) * DIGEST]:
                    raise Damaged(f"the pixels of image {row} are damaged")

    def find(self, names: Sequence[str]) -> RowsOfFile:
        """The row of each image by its name, -1 where it is not here: int64."""
        if os.fsencode("\0".join(names)) == self._names:
            return np.arange(len(names))
        known = {name: row for row, name in enumerate(os.fsdecode(self._names).split("\0"))}
        return np.asarray([known.get(name, -1) for name in names], np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (self.path, self.digest)


def _open_again(path: Path, digest: bytes) -> CacheFile:
    try:
        file = CacheFile(path)
    except (OSError, Damaged) as reason:
        _gone(path, str(reason))
    if file.digest != digest:
        _gone(path, "written anew by another run")
    return file


def _gone(path: Path, found: str) -> NoReturn:
    raise InputError(
        "decoded images that were in the cache at the start are no longer there",
        where=path,
        found=found,
        wanted="the file as it was",
        fix="start again",
    )


@dataclass(frozen=True, eq=False)
class CachedImages:
    """n images in a file of the cache: those at `rows`, int64 (n,), in this order. Shares the file's pixels."""

    file: CacheFile
    rows: RowsOfFile

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, H, W, 3)."""
        return (len(self.rows), *self.file.shape[1:])

    @property
    def pixels(self) -> Pixels:
        """All images of the file, uint8 (m, H, W, 3), of which those at `rows` are meant."""
        return self.file.pixels

    def read(self, indices: RowsOfFile) -> Pixels:
        """The images at `indices`, a copy: uint8 (len(indices), H, W, 3)."""
        images: Pixels = self.pixels[self.rows[indices]]
        return images

    def subset(self, indices: RowsOfFile) -> CachedImages:
        """The images at `indices`, without copying any."""
        return CachedImages(self.file, self.rows[indices])

    def digests(self) -> bytes:
        """What `digests_of` gives for these images, without reading them."""
        return self.file.rows["pixels"][self.rows].tobytes()


def put(unfinished: Path, first: int, pixels: Pixels) -> None:
    """Write images, (n, H, W, 3) with n > 0 and C-contiguous, into a file that `writing` makes, the first one at row
    `first`. From any thread or process."""
    with unfinished.open("r+b") as file:
        file.seek(first * pixels[0].nbytes)
        file.write(pixels.data)


class Writer:
    """A file of the cache as it is made: `put` its pixels at `path`, then `finish`. Made by `writing`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file

    def finish(
        self,
        rows: npt.NDArray[np.void],
        names: Sequence[str],
        about: Mapping[str, Any],
        unreadable: Mapping[int, str],
    ) -> None:
        """The index and the tail, and all of it forced to disk."""
        described = json.dumps({**about, "format": FORMAT, "unreadable": unreadable}).encode()
        parts = [rows.tobytes(), os.fsencode("\0".join(names)), described]
        self.file.seek(0, os.SEEK_END)
        for piece in (*parts, _TAIL.pack(_MAGIC, *map(len, parts), _index_digest(parts))):
            self.file.write(piece)
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A file to write into, which is moved to `path` at the end; after an error nothing is left. Raises OSError.

    As long as this process lives a file beside it is locked, so that `remove_unfinished` leaves it alone. It is not
    locked itself: on some network file systems no other process could then write into it.
    """
    lock = _locked_file(path)
    temporary = Path(lock.name).with_suffix(UNFINISHED)
    try:
        with temporary.open("xb") as file:
            yield Writer(temporary, file)
            if sys.platform == "win32":
                file.close()  # there an open file can't be moved
            temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        lock.close()
        Path(lock.name).unlink(missing_ok=True)


def remove_unfinished(where: Path) -> int:
    """Remove what processes that are dead left half-written in a folder; returns how many files these were."""
    removed = 0
    for stem in {path.stem for ending in (UNFINISHED, _LOCK) for path in where.glob(f"*{ending}")}:
        lock, unfinished = where / f"{stem}{_LOCK}", where / f"{stem}{UNFINISHED}"
        with suppress(OSError):
            if _is_held(lock):
                continue
            lock.unlink(missing_ok=True)  # on Windows this fails where a process has it open
            removed += unfinished.exists()
            unfinished.unlink(missing_ok=True)
    return removed


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            return not _lock(file, wait=False)
    except FileNotFoundError:
        return False


def _locked_file(path: Path) -> IO[bytes]:
    """A new file beside `path` with a name of its own, locked."""
    while True:
        lock = path.with_name(f"{path.stem}-{os.getpid()}-{os.urandom(4).hex()}{_LOCK}")
        file = lock.open("xb")
        try:
            _lock(file, wait=True)
        except OSError:
            file.close()
            lock.unlink(missing_ok=True)
            raise
        if lock.exists():
            return file
        file.close()  # not locked yet, it was taken for a dead process's


def _lock(file: IO[bytes], *, wait: bool) -> bool:
    """Lock a file until it is closed, which the system does for a process that dies; False if another has it."""
    if sys.platform == "win32":
        return True  # there a file that is open can't be removed, which is all the lock is for
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _mapped(file: IO[bytes], shape: tuple[int, int, int, int]) -> Pixels:
    """The pixels as an array, private to this process.

    torch takes writable memory only. numpy's copy-on-write (mode "c") is refused by Linux for a file larger than
    the memory, as memory for copies of all of it would be reserved; hence MAP_NORESERVE.
    """
    length = int(np.prod(shape, dtype=np.int64))
    if sys.platform == "win32":
        view = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY)
    else:
        # Python 3.11 and 3.12 do not name the flag; this is its value on x86 and ARM.
        unreserved = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
        flags, rights = mmap.MAP_PRIVATE | unreserved, mmap.PROT_READ | mmap.PROT_WRITE
        view = mmap.mmap(file.fileno(), length, flags=flags, prot=rights)
    return np.frombuffer(view, np.uint8).reshape(shape)


def _index_digest(parts: Sequence[bytes]) -> bytes:
    both = hashlib.blake2b(digest_size=32)
    for part in parts:
        both.update(part)
    return both.digest()
