"""Shards as WebDataset has them: tar files with `KEY.jpg` and `KEY.cls` side by side, read where they lie.

`shards/` (a folder of .tar files, or with train/ val/ test/ of them), `train-{000..019}.tar` or `train-*.tar`. A first
pass notes where each image stands; after that any image is read by itself, so that order, workers and exact counts are
those of any other data set, and memory does not grow with the shards' size: nothing is unpacked, and no decoded image
is kept. Source of the format: the WebDataset documentation, "The WebDataset Format".
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from truefit.data.encoded import read_encoded
from truefit.data.images import UnreadableImage, is_image_name
from truefit.data.imageset import ImageSet
from truefit.data.listing import SPLITS, Listing, Rows, Samples
from truefit.data.packed import Chosen, Packed
from truefit.data.sources import Options
from truefit.data.sources.folder import slug, visible_folders
from truefit.errors import InputError, shorten

_LABELS = ("cls", "label", "json")
_BLOCK = 512


def claims(spec: str) -> bool:
    """Whether it names .tar files, or is a folder of nothing else."""
    if re.search(r"\.(tar|tar\.\w+|tgz)$", spec) and not Path(spec).expanduser().is_dir():
        return True
    folder = Path(spec).expanduser()
    return folder.is_dir() and bool(_in_folder(folder))


def listing(spec: str, options: Options) -> Listing:
    """The samples of all shards.

    Raises InputError naming the shard: none found, compressed, damaged or cut short; a sample without an image or a
    label, or with two; a label that is empty.
    """
    shards = _find(spec)
    index = _Index()
    for number, path in enumerate(shards):
        index.add(number, path)
        if options.on_progress is not None:
            options.on_progress(number + 1, len(shards))
    packed = Shards(
        tuple(map(str, shards)), np.asarray(index.shard), np.asarray(index.start), np.asarray(index.size), index.keys
    )
    if not len(packed):
        raise InputError(
            "the shards hold no samples", where=spec, found=f"{len(shards)} shards", wanted="KEY.jpg, KEY.cls"
        )
    splits = _splits(shards)
    where = Path(spec).expanduser().absolute()
    return Listing(
        name=slug(where.name if where.is_dir() or not re.search(r"[{*?\[]", where.name) else where.parent.name),
        spec=str(where),
        labels=index.labels,
        splits=None if splits is None else [splits[number] for number in index.shard],
        read=_Read(packed, spec),
        notes=(f"{len(shards):,} shards, {len(packed):,} samples",),
    )


class Shards:
    """The images inside of tar files, each by its place: shard (n,), start and size in bytes (n,), int64."""

    def __init__(
        self,
        paths: tuple[str, ...],
        shard: npt.NDArray[np.int64],
        start: npt.NDArray[np.int64],
        size: npt.NDArray[np.int64],
        keys: Sequence[bytes],
    ) -> None:
        self.paths, self.shard, self.start, self.size = paths, shard, start, size
        # One piece of text: a million small ones would take as much memory as their images' index.
        self.keys = b"\0".join(keys)

    def __len__(self) -> int:
        return len(self.shard)

    def __getitem__(self, row: int, /) -> bytes:
        try:
            with open(self.paths[self.shard[row]], "rb") as file:  # noqa: PTH123  called for every image
                file.seek(int(self.start[row]))
                content = file.read(int(self.size[row]))
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        if len(content) != self.size[row]:
            raise UnreadableImage("the shard has become shorter")
        return content

    def subset(self, rows: npt.NDArray[np.int64]) -> Packed:
        """The images at `rows`; nothing is read."""
        return Chosen(self, rows)

    def names(self) -> Sequence[str]:
        """Shard and name of each."""
        keys = self.keys.decode("utf-8", "surrogateescape").split("\0")
        return [f"{self.paths[shard]}: {key}" for shard, key in zip(self.shard.tolist(), keys, strict=True)]


class _Read:
    def __init__(self, packed: Shards, where: str) -> None:
        self.packed, self.where = packed, where

    def __call__(self, rows: Rows, samples: Samples, options: Options) -> tuple[dict[str, ImageSet], list[str]]:
        return read_encoded(self.where, self.packed, rows, samples, options, stream=True)


class _Index:
    """Where each sample's image stands, and its label."""

    def __init__(self) -> None:
        self.shard, self.start, self.size = array("q"), array("q"), array("q")
        self.keys: list[bytes] = []
        self.labels: list[str] = []
        self._same: dict[str, str] = {}

    def add(self, number: int, path: Path) -> None:
        """All samples of one shard."""
        image: dict[str, tarfile.TarInfo] = {}
        label: dict[str, str] = {}
        try:
            with path.open("rb") as file:
                for member in _members(file, path):
                    folder, _, name = member.name.rpartition("/")
                    key, _, suffix = name.partition(".")
                    key = f"{folder}/{key}"
                    if is_image_name(name):
                        _once(image, key, path, "two images")
                        image[key] = member
                    elif suffix in _LABELS:
                        _once(label, key, path, "two labels")
                        file.seek(member.offset_data)
                        label[key] = _label(file.read(member.size), suffix, f"{path}: {member.name}")
        except OSError as error:
            raise InputError("a shard can't be read", where=path, found=error.strerror or error) from error
        alone = [*(f"{key} (no label)" for key in image if key not in label)]
        alone += [f"{key} (no image)" for key in label if key not in image]
        if alone:
            raise InputError(
                "samples of a shard are not whole",
                where=path,
                found=f"{len(alone)} samples: {shorten((key.lstrip('/') for key in alone), 5)}",
                wanted="an image (KEY.jpg, KEY.png ...) and a label (KEY.cls, KEY.label or KEY.json) each",
            )
        for key, member in image.items():
            self.shard.append(number)
            self.start.append(member.offset_data)
            self.size.append(member.size)
            self.keys.append(member.name.encode("utf-8", "surrogateescape"))
            # The very same text for the same label: there are as many as samples.
            self.labels.append(self._same.setdefault(label[key], label[key]))


def _once(found: Mapping[str, object], key: str, path: Path, what: str) -> None:
    if key in found:
        raise InputError(f"a sample of a shard has {what}", where=path, found=key.lstrip("/"), wanted="one")


def _members(file: BinaryIO, path: Path) -> Iterator[tarfile.TarInfo]:
    """The files in a tar archive; an InputError unless it is whole, with its end mark."""
    length = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.offset_data + member.size > length:
                    break
                if member.isfile():
                    yield member
            end = archive.offset
    except tarfile.TarError as error:
        raise _cut(path, f"{length:,} bytes: {error}") from error
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise _cut(path, f"{length:,} bytes, no end mark at byte {end:,}")


def _cut(path: Path, found: str) -> InputError:
    return InputError(
        "a shard is damaged or cut short",
        where=path,
        found=found,
        wanted="a whole tar file, not compressed",
        fix="copy or write this shard again",
    )


def _label(content: bytes, suffix: str, where: str) -> str:
    try:
        text = content.decode("utf-8").strip()
        if suffix == "json":
            value = json.loads(text)
            if isinstance(value, dict):
                value = next((value[name] for name in ("label", "class", "cls", "target") if name in value), None)
            text = "" if value is None or isinstance(value, dict | list) else str(value)
    except ValueError as error:
        raise InputError("a label can't be read", where=where, found=error, wanted="text or JSON in UTF-8") from error
    if not text:
        raise InputError("a label is empty", where=where, wanted='a number or a name; in JSON {"label": ...}')
    return text


def _in_folder(folder: Path) -> list[Path]:
    """The shards of a folder that holds nothing else; those of folders for splits, where it has them."""
    inside = visible_folders(folder)
    if not inside:
        return sorted(folder.glob("*.tar"))
    if any(SPLITS.get(name.lower()) is None or visible_folders(folder / name) for name in inside):
        return []
    return [path for name in inside for path in sorted((folder / name).glob("*.tar"))]


def _find(spec: str) -> list[Path]:
    if "://" in spec or spec.startswith("pipe:"):
        raise InputError(
            "shards are read from files: any image may be asked for at any time",
            where=spec,
            wanted="a path; an address on the network has to be mounted or copied first",
        )
    if not spec.endswith(".tar") and not Path(spec).expanduser().is_dir():
        raise InputError(
            "a compressed shard can't be read at any place", where=spec, wanted="a .tar file", fix="unpack it to .tar"
        )
    whole = Path(spec).expanduser().absolute()
    if whole.is_dir():
        return _in_folder(whole)
    names = _expanded(str(whole))
    found = [path for name in names for path in ([Path(name)] if Path(name).is_file() else _globbed(name))]
    missing = [name for name in names if not Path(name).is_file() and not _globbed(name)]
    if missing:
        raise InputError(
            f"{len(missing)} shards do not exist", where=spec, found=shorten(missing, 5), wanted="files for all of them"
        )
    return found


def _globbed(name: str) -> list[Path]:
    if not re.search(r"[*?\[]", name):
        return []
    anchor = Path(name).anchor
    return sorted(Path(anchor).glob(str(Path(name).relative_to(anchor))))


def _expanded(pattern: str) -> list[str]:
    """`a-{00..02}.tar` and `{x,y}.tar` as the shell expands them; the first number says how many digits there are."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices: list[list[str]] = []
    for at, piece in enumerate(pieces):
        numbers = re.fullmatch(r"(\d+)\.\.(\d+)", piece)
        if at % 2 == 0:
            choices.append([piece])
        elif numbers:
            first, last = numbers.groups()
            choices.append([str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)])
        else:
            choices.append(piece.split(","))
    return ["".join(chosen) for chosen in product(*choices)]


def _splits(shards: Sequence[Path]) -> list[str] | None:
    """The split of each shard, by its folder or by a word in its name; None unless every one says it."""
    found = []
    for path in shards:
        words = [path.parent.name.lower(), *re.split(r"[^a-z]+", path.name.lower())]
        found.append(next((SPLITS[word] for word in words if word in SPLITS), None))
    names = [split for split in found if split is not None]
    return names if len(names) == len(found) and "train" in names and len(set(names)) > 1 else None
