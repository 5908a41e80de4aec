"""What is a data set, once it has been found and read? Images with labels, and the splits of one whole."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from truefit.data.cachefile import DIGEST, CachedImages, digest, digests_of
from truefit.data.images import Encoded, Interpolation, Pixels, Resize, decode_files
from truefit.data.packed import Packed
from truefit.errors import InputError, shorten

Labels = npt.NDArray[np.int64]
Indices = Sequence[int] | npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet(Dataset[tuple[torch.Tensor, int]]):
    """One split: n images with their labels, held in memory, in the cache on disk, or read from their files.

    split:      `train`, `validation` or `test`
    classes:    the names of the classes; a label is an index into them
    labels:     int64 (n,), 0 <= label < len(classes); with several labels an image int64 (n, len(classes)), 0 or 1
    pixels:     uint8 (n, H, W, 3), contiguous; None where they are not held in memory
    cached:     where the decoded images lie in the cache on disk; None where they do not
    packed:     where the encoded images lie inside of larger files; None where they do not
    paths:      the n files, absolute; None where there are no files
    groups:     the group of each image, n names: images of one group belong in one split; None where unknown
    image_size: height and width in pixels of every image; None only if files have a size of their own each
    resize:     how files are brought to `image_size`: `crop` or `stretch` (see `images.fit_image`)
    interpolation: how pixels are computed on the way there
    skipped:    files left out because they could not be read, each with the reason

    Raises `InputError` when labels, pixels and paths do not belong together.
    """

    split: str
    classes: tuple[str, ...]
    labels: Labels
    pixels: Pixels | None = None
    cached: CachedImages | None = None
    packed: Packed | None = None
    paths: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    image_size: int | None = None
    resize: Resize = "crop"
    interpolation: Interpolation = "bicubic"
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels, pixels, n = self.labels, self.pixels, len(self.labels)
        if labels.dtype != np.int64 or labels.shape not in ((n,), (n, len(self.classes))):
            self._refuse("labels", f"{labels.dtype} {labels.shape}", f"int64 (n,) or (n, {len(self.classes)})")
        highest = 1 if self.multi_label else len(self.classes) - 1
        if n and not 0 <= labels.min() <= labels.max() <= highest:
            self._refuse("labels", f"{labels.min()} to {labels.max()}", f"0 to {highest}")
        for what, found in (
            ("paths", self.paths),
            ("cached images", self.cached),
            ("packed images", self.packed),
            ("groups", self.groups),
        ):
            if found is not None and len(found) != n:
                self._refuse(what, f"{len(found)} {what}", f"one for each of {n} labels")
        if pixels is None:
            if self.paths is None and self.cached is None and self.packed is None:
                self._refuse("images", "neither pixels nor paths", "one of them")
            return
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or len(pixels) != n:
            self._refuse("pixels", f"{pixels.dtype} {pixels.shape}", f"uint8 ({n}, H, W, 3)")
        if not pixels.flags.c_contiguous:
            self._refuse("pixels", "an array that is not contiguous", "np.ascontiguousarray of it")

    def _refuse(self, what: str, found: str, wanted: str) -> None:
        raise InputError(f"the {what} of a data set do not fit", where=self.split, found=found, wanted=wanted)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether an image has several labels."""
        return self.labels.ndim == 2

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """The image as uint8 (3, H, W), a copy, and its label (a list of 0 and 1 where it has several).

        Raises IndexError beyond the last.
        """
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[torch.Tensor, int]]:
        """A batch of items, as torch's DataLoader asks for them: the files are read together."""
        rows = np.asarray(indices, np.int64)
        images = torch.from_numpy(np.ascontiguousarray(self.read(rows).transpose(0, 3, 1, 2)))
        return list(zip(images, self.labels[rows].tolist(), strict=True))

    def read(self, indices: Indices) -> Pixels:
        """The images at `indices` as uint8 (len(indices), H, W, 3), a copy.

        Raises `InputError` when a file can no longer be read, IndexError for an index beyond the last.
        """
        rows = np.asarray(indices, np.int64)
        if self.pixels is not None:
            return self.pixels[rows]
        if self.cached is not None:
            return self.cached.read(rows)
        files = files_of(self, rows)
        return whole(self, files, *decoder_of(self)(files))

    def subset(self, indices: Indices, split: str | None = None) -> ImageSet:
        """The images at `indices`, in that order, as a set of its own (named `split` if given).

        Pixels in memory are copied, except where the indices are consecutive: then the memory is shared. Those
        in the cache are always shared.
        """
        rows = np.asarray(indices, np.int64)
        at: npt.NDArray[np.int64] | slice = rows
        if len(rows) and rows[0] >= 0 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            at = slice(int(rows[0]), int(rows[0]) + len(rows))
        return ImageSet(
            split=self.split if split is None else split,
            classes=self.classes,
            labels=self.labels[rows],
            pixels=None if self.pixels is None else self.pixels[at],
            cached=None if self.cached is None else self.cached.subset(rows),
            packed=None if self.packed is None else self.packed.subset(rows),
            paths=None if self.paths is None else tuple(self.paths[row] for row in rows),
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
            image_size=self.image_size,
            resize=self.resize,
            interpolation=self.interpolation,
        )

    @property
    def in_memory(self) -> bool:
        """Whether the decoded pixels are held in memory (not in the cache on disk)."""
        return self.pixels is not None

    def counts(self) -> Labels:
        """Images of each class: int64 (len(classes),)."""
        if self.multi_label:
            return np.asarray(self.labels.sum(axis=0), np.int64)
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def fingerprint(self) -> str:
        """`blake2b:` and 64 hexadecimal digits over classes, labels and images, in their order.

        The images count by their pixels where these are held or cached (so the size they were brought to
        counts), else by the bytes of their files; where the files lie does not count. Computed once.
        """
        return self._fingerprint

    def sample_digests(self) -> npt.NDArray[np.void]:
        """16 bytes for each image, V16 (n,): equal ones mean equal images. Labels do not count. Computed once.

        Like the fingerprint, of the pixels where these are held or cached, else of the bytes of the files.
        """
        return np.frombuffer(self._digests, f"V{DIGEST}")

    @cached_property
    def _digests(self) -> bytes:
        if self.pixels is not None:
            return digests_of(self.pixels)
        if self.cached is not None:
            return self.cached.digests()
        if self.packed is not None:
            return b"".join(digest(self.packed[row]) for row in range(len(self)))
        return b"".join(digest(Path(path).read_bytes()) for path in self.paths or ())

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=32)
        digest.update("\x1f".join(self.classes).encode("utf-8", "surrogateescape"))
        digest.update(f"\x1e{len(self)}\x1e".encode())
        digest.update(self.labels.astype("<i8").tobytes())
        shape = self.pixels.shape if self.pixels is not None else self.cached.shape if self.cached is not None else None
        digest.update(("files" if shape is None else f"{shape}").encode())
        digest.update(self._digests)
        return f"blake2b:{digest.hexdigest()}"


def is_decoded_each_time(images: ImageSet) -> bool:
    """Whether each image is a file of its own that is decoded whenever it is asked for."""
    return images.paths is not None and images.pixels is None and images.cached is None and images.packed is None


def files_of(images: ImageSet, indices: Indices) -> Packed | list[str]:
    """The encoded images at `indices`. Raises InputError where there are none."""
    if images.packed is not None:
        return images.packed.subset(np.asarray(indices, np.int64))
    if images.paths is None:
        raise InputError("images without pixels need paths", where=images.split)
    return [images.paths[row] for row in indices]


def decoder_of(
    images: ImageSet, threads: int | None = None
) -> Callable[[Encoded], tuple[Pixels | None, dict[int, str]]]:
    """What decodes `files_of` by so many threads; it can be pickled. InputError where the set has no size for them."""
    if images.image_size is None:
        raise InputError("images without pixels need an image_size", where=images.split)
    return partial(
        decode_files,
        size=images.image_size,
        resize=images.resize,
        interpolation=images.interpolation,
        threads=threads,
    )


def whole(images: ImageSet, files: Packed | list[str], pixels: Pixels | None, unreadable: dict[int, str]) -> Pixels:
    """What decoding `files` gave. Raises InputError where some could not be read."""
    if unreadable or pixels is None:
        named = files if isinstance(files, list) else files.names()
        raise InputError(
            "images that were there at the start can no longer be read",
            where=images.split,
            found=shorten(f"{named[at]} ({reason})" for at, reason in unreadable.items()),
            wanted="files that stay as they are during a run",
        )
    return pixels


@dataclass(frozen=True, kw_only=True)
class Data:
    """The splits of one data set.

    name:       short and safe in a file name: `digits`, or made from the folder's name
    spec:       what was asked for: a known name, or the folder's absolute path
    validation, test: None where there is none
    drawn:      the splits that were drawn by truefit, not given
    mirror:     whether a mirrored image still shows its class (false for digits)
    notes:      what the user should be told: splits drawn, files ignored or skipped, sizes changed
    options:    with `spec`, what `load_data` needs to give the same again
    """

    name: str
    spec: str
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet | None
    mirror: bool
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return self.train.classes

    @property
    def splits(self) -> tuple[ImageSet, ...]:
        """The splits that exist: train, then validation, then test."""
        return tuple(part for part in (self.train, self.validation, self.test) if part is not None)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The files left out because they could not be read, each with the reason."""
        return tuple(file for part in self.splits for file in part.skipped)


def available_memory() -> int:
    """Bytes of memory that can be had without swapping; 4 GiB where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _left_in_container())
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return 4 * 2**30


def _left_in_container() -> int:
    """What a container's limit (cgroup v2) leaves; without one, more than any machine has."""
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        return max(0, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such file, or the word "max"
        return 2**62
