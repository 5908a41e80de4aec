"""Which decoded images are on disk already, and how do they get there? One file for a folder at one size.

It is found by the folder's place and the settings (size, resize, interpolation), and used by content: for every image
it has a digest of the image file's bytes, and what the file system said of it (bytes, times of modification and
change, inode). Where the file system still says the same the file is taken as unchanged, which for 200,000 files
takes a second. Where it says anything else (touched, restored from an archive, written again) the file is read, and
its digest decides. So a folder that was copied back is not decoded again; and changed images are never served stale,
as no program can set the time of change (ctime), unlike the time of modification. A file that had only just been
written when it was decoded might be written again in the same tick of the clock: those are always read again. On
Windows, where ctime is the time of creation, a file that changes but keeps its length and has its time of
modification put back is not noticed.

Any subset of the images in a file will do, so splits and `--val-fraction 0` share one. When images were added or
changed it is written anew: what is known is copied, the rest decoded. Runs that do so at once each write a file of
their own, and the last one stays; those that have mapped an earlier one keep it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
from PIL import features

from truefit.data.cachefile import (
    DIGEST,
    ROW,
    SUFFIX,
    CachedImages,
    CacheFile,
    Damaged,
    digest,
    digests_of,
    put,
    remove_unfinished,
    writing,
)
from truefit.data.images import (
    Interpolation,
    MixedSizes,
    Pixels,
    Progress,
    Resize,
    UnreadableImage,
    in_chunks,
    quiet_pillow,
    read_pixels,
)
from truefit.data.processes import Processes, cores, processes

PROCESSES_FROM = 4_000
"""Files from which on they are decoded by several processes, where there was no cache."""

_MOST_PROCESSES = 16
_CHUNK_BYTES, _CHUNK_IMAGES = 4 * 2**20, 256
_FREE_SHARE = 0.9
_REWRITTEN_FROM = 0.1
_NEVER = (-1, -1, -1, -1)  # what the file system says of no file
_SETTLED_NS = 2 * 10**9  # the coarsest clock of a common file system (FAT) ticks every two seconds

_Stat: TypeAlias = tuple[int, ...]
_Chunk: TypeAlias = tuple[npt.NDArray[np.void], dict[int, str]]
"""Rows of the index; and which images can't be read, by their row in the whole index, with the reason."""


class CacheUnusable(Exception):
    """The cache can't be read or written; the text says why. Nothing is lost but time."""


def cache_folder() -> Path | None:
    """Where decoded images are kept: $TRUEFIT_CACHE, else ~/.cache/truefit/decoded; None where it is `off`."""
    chosen = os.environ.get("TRUEFIT_CACHE") or "~/.cache/truefit/decoded"
    return None if chosen == "off" else Path(chosen).expanduser().absolute()


def cached_images(
    folder: Path,
    paths: Sequence[str],
    *,
    size: int,
    resize: Resize,
    interpolation: Interpolation = "bicubic",
    own_size: bool,
    on_progress: Progress | None = None,
) -> tuple[CachedImages, dict[int, str]]:
    """The files at `paths`, all below `folder`, decoded as `images.decode_files` does it, but only once.

    Returns them in the order of `paths`, and the reason for each unreadable one by its index.
    Raises `CacheUnusable` where there is no room or no right to write; `MixedSizes` as `decode_files` does.
    """
    where = cache_folder()
    if where is None:
        raise CacheUnusable("TRUEFIT_CACHE is off")
    above = os.path.join(folder.absolute(), "")  # noqa: PTH118  ends with a separator
    names = [path.removeprefix(above) for path in paths]
    path = where / f"{_key(folder, size, resize, interpolation)}{SUFFIX}"
    build = _Build(folder, names, paths, size, resize, interpolation, own_size)
    try:
        file = _opened(path)
        found = _Search(file, names, paths, on_progress) if file is not None else None
        if file is None or found is None or (found.rows < 0).any():
            build.write(path, found, on_progress)
            file = CacheFile(path)
        elif found.many_read:
            with suppress(OSError, CacheUnusable):  # it would only have been quicker next time
                build.write(path, found, on_progress)
                file = CacheFile(path)
        with suppress(OSError):
            os.utime(path)  # when it was last used
    except OSError as error:
        raise CacheUnusable(f"{error.strerror or error} ({where}; TRUEFIT_CACHE names another folder)") from error
    except Damaged as error:
        raise CacheUnusable(f"{path} was damaged as soon as it was written: {error}") from error
    rows = file.find(names)
    if (rows < 0).any():
        raise CacheUnusable(f"another run replaced {path} at the same time")
    if own_size and not file.rows["own_size"][rows].all():
        raise MixedSizes(f"not all are {size} x {size}")
    unreadable = {at: file.unreadable[row] for at, row in enumerate(rows.tolist()) if row in file.unreadable}
    return CachedImages(file, rows), unreadable


class _Search:
    """Which of the files at `paths` does a file of the cache hold as they are now?

    rows:      their rows there, int64 (n,), -1 for those that have to be decoded
    stats:     what the file system says of each, int64 (n, 4)
    many_read: whether so many had to be read to know that it is worth to note what the file system says now
    """

    def __init__(
        self, file: CacheFile, names: Sequence[str], paths: Sequence[str], on_progress: Progress | None
    ) -> None:
        self.file = file
        self.rows = file.find(names)
        self.stats = np.asarray([_stat_of(path) for path in paths], np.int64)
        doubtful = np.flatnonzero((self.rows >= 0) & (file.rows["stat"][self.rows] != self.stats).any(axis=1))
        suspects = [paths[at] for at in doubtful.tolist()]
        wanted = file.rows["content"][self.rows[doubtful]]

        def changed(part: range) -> npt.NDArray[np.int64]:
            content = b"".join(_content_digest(suspects[at]) for at in part)
            different = np.frombuffer(content, "<u8").reshape(-1, 2) != wanted[part.start : part.stop]
            rows: npt.NDArray[np.int64] = doubtful[part.start : part.stop][different.any(axis=1)]
            return rows

        if suspects:
            for _, different in in_chunks(changed, suspects, on_progress=on_progress):
                self.rows[different] = -1
        self.many_read = len(suspects) > _REWRITTEN_FROM * len(paths)


class _Build:
    """Writes the images at `paths` into a file of the cache: what a search found is copied, the rest is decoded."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        paths: Sequence[str],
        size: int,
        resize: Resize,
        interpolation: Interpolation,
        own_size: bool,
    ) -> None:
        self.names, self.paths = names, paths
        self.size, self.own_size, self.how = size, own_size, (size, resize, interpolation, own_size)
        self.about = {
            "folder": os.path.realpath(folder),
            "image_size": size,
            "resize": resize,
            "interpolation": interpolation,
            "decoder": _decoder(),
        }

    def write(self, path: Path, found: _Search | None, on_progress: Progress | None) -> None:
        """Whole, at `path`, or not at all. Raises OSError, CacheUnusable, MixedSizes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent)
        image_bytes = self.size * self.size * 3
        needed = image_bytes * len(self.paths)
        if needed > _FREE_SHARE * shutil.disk_usage(path.parent).free:
            raise CacheUnusable(f"{needed / 2**30:.1f} GiB would be needed in {path.parent}, and are not free")
        rows = np.zeros(len(self.paths), ROW)
        unreadable: dict[int, str] = {}

        # Files of images that are to be made smaller may take long, and Ctrl-C waits for a chunk.
        most = _CHUNK_IMAGES if self.own_size else _CHUNK_IMAGES // 4
        largest = max(1, min(most, _CHUNK_BYTES // image_bytes))
        with writing(path) as file, self._decoders(found) as decoders:

            def chunk(part: range) -> _Chunk:
                if found is not None:
                    return self._renewed(part, found, file.path)
                work = (file.path, part.start, self.paths[part.start : part.stop], *self.how)
                return decode_rows(*work) if decoders is None else decoders.call(decode_rows, *work)

            threads = None if decoders is None else decoders.count
            chunks: Generator[tuple[range, _Chunk]] = in_chunks(
                chunk, self.paths, largest=largest, threads=threads, on_progress=on_progress
            )
            with closing(chunks):
                for at, (described, failed) in chunks:
                    rows[at.start : at.stop] = described
                    unreadable.update(failed)
            file.finish(rows, self.names, self.about, unreadable)

    def _decoders(self, found: _Search | None) -> AbstractContextManager[Processes | None]:
        """Processes, where there is enough to decode to be worth their start."""
        if found is not None or cores() == 1 or len(self.paths) < PROCESSES_FROM or not sys.executable:
            return nullcontext()
        return processes(min(cores(), _MOST_PROCESSES))

    def _renewed(self, part: range, found: _Search, unfinished: Path) -> _Chunk:
        """What is known is taken over, the rest decoded."""
        pixels = np.zeros((len(part), self.size, self.size, 3), np.uint8)
        rows = np.zeros(len(part), ROW)
        failed: dict[int, str] = {}
        fresh = [
            at for at, row in enumerate(part) if not self._copied(found, row, pixels[at], rows[at : at + 1], failed)
        ]
        if fresh:
            pixels[fresh], rows[fresh], reasons = _decode([self.paths[part[at]] for at in fresh], *self.how)
            failed.update({part[fresh[at]]: reason for at, reason in reasons.items()})
        put(unfinished, part.start, pixels)
        return rows, failed

    def _copied(
        self, found: _Search, row: int, pixels: Pixels, described: npt.NDArray[np.void], failed: dict[int, str]
    ) -> bool:
        """Take an image over; False if it is not known, or damaged (of a large file only a sample is checked)."""
        kept = int(found.rows[row])
        if kept < 0 or digest(found.file.pixels[kept].data) != found.file.rows["pixels"][kept].tobytes():
            return False
        pixels[:] = found.file.pixels[kept]
        described[:] = found.file.rows[kept]
        described["stat"] = _settled(tuple(found.stats[row].tolist()))
        if kept in found.file.unreadable:
            failed[row] = found.file.unreadable[kept]
        return True


def decode_rows(
    unfinished: Path,
    first: int,
    paths: Sequence[str],
    size: int,
    resize: Resize,
    interpolation: Interpolation,
    own_size: bool,
) -> _Chunk:
    """Decode files and write their pixels where they belong. Called here or in another process."""
    pixels, rows, failed = _decode(paths, size, resize, interpolation, own_size)
    put(unfinished, first, pixels)
    return rows, {first + at: reason for at, reason in failed.items()}


def _decode(
    paths: Sequence[str], size: int, resize: Resize, interpolation: Interpolation, own_size: bool
) -> tuple[Pixels, npt.NDArray[np.void], dict[int, str]]:
    """Pixels, index and unreadable ones of some files, by their place among these."""
    pixels = np.zeros((len(paths), size, size, 3), np.uint8)
    rows = np.zeros(len(paths), ROW)
    rows["own_size"] = True
    stats: list[_Stat] = []
    contents: list[bytes] = []
    failed: dict[int, str] = {}
    with quiet_pillow():  # once, not for each file
        for at, path in enumerate(paths):
            try:
                with open(path, "rb") as file:  # noqa: PTH123  called for every file
                    stat = os.fstat(file.fileno())  # before it is read, so that a change meanwhile shows
                    content = file.read()
            except OSError as error:
                failed[at] = error.strerror or str(error)
                stats.append(_NEVER)
                contents.append(bytes(DIGEST))
                continue
            stats.append(_settled(_as_numbers(stat)))
            contents.append(digest(content))
            try:
                pixels[at], (width, height) = read_pixels(content, size, resize, interpolation)
            except UnreadableImage as reason:
                failed[at] = str(reason)
                continue
            if (width, height) != (size, size):
                if own_size:
                    raise MixedSizes(f"{size} x {size} and {width} x {height}")
                rows["own_size"][at] = False
    rows["stat"] = stats
    rows["content"] = np.frombuffer(b"".join(contents), "<u8").reshape(-1, 2)
    rows["pixels"] = np.frombuffer(digests_of(pixels), "<u8").reshape(-1, 2)
    return pixels, rows, failed


def _key(folder: Path, size: int, resize: Resize, interpolation: Interpolation) -> str:
    place = json.dumps([os.path.realpath(folder), size, resize, interpolation]).encode()
    return hashlib.blake2b(place, digest_size=8).hexdigest()


def _decoder() -> str:
    """What decodes: another version may give other pixels."""
    return f"Pillow {PIL.__version__} (libjpeg {features.version_codec('jpg')}), simplejpeg {simplejpeg.__version__}"


def _opened(path: Path) -> CacheFile | None:
    """The file of the cache, checked; None if there is none. A damaged one, or one of another version, is removed."""
    try:
        file = CacheFile(path)
        if file.about["decoder"] != _decoder():
            raise Damaged("it was decoded by another version")
        file.check_pixels()
    except FileNotFoundError:
        return None
    except Damaged:
        path.unlink(missing_ok=True)
        return None
    return file


def _content_digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  called for every file
            return digest(file.read())
    except OSError:
        return bytes(DIGEST)


def _stat_of(path: str) -> _Stat:
    try:
        return _as_numbers(os.stat(path))  # noqa: PTH116
    except OSError:
        return _NEVER


def _as_numbers(stat: os.stat_result) -> _Stat:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino & (2**63 - 1)


def _settled(stat: _Stat) -> _Stat:
    """`stat`; for a file that has only just changed one that never fits: its next change might not show."""
    return stat if max(stat[1], stat[2]) + _SETTLED_NS < time.time_ns() else _NEVER


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of the cache as it is listed. bytes: its length; last_used: seconds since 1970.

    folder, image_size, resize, images: None where it is damaged.
    """

    key: str
    path: Path
    bytes: int
    last_used: float
    folder: str | None = None
    image_size: int | None = None
    resize: str | None = None
    images: int | None = None


def entries(where: Path) -> list[Entry]:
    """The files of the cache in a folder, last used first; none where there is no such folder."""
    found = []
    for path in where.glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError):  # removed in this moment
            stat = path.stat()
            about: dict[str, object] = {}
            with suppress(Damaged, PermissionError):
                file = CacheFile(path)
                about = {name: file.about[name] for name in ("folder", "image_size", "resize")}
                about["images"] = len(file.rows)
            found.append(
                Entry(key=path.stem, path=path, bytes=stat.st_size, last_used=stat.st_mtime, **about)  # type: ignore[arg-type]
            )
    return sorted(found, key=lambda entry: -entry.last_used)
