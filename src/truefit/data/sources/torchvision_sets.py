"""`cifar10 cifar100 mnist fashion-mnist svhn`: downloaded once through torchvision, then read from a cache.

torchvision shows the progress and compares what came with its own md5 sums. What is added here: a download or
an unpacking that was interrupted, now or in an earlier session, is removed and started again.
"""

from __future__ import annotations

import os
import struct
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np

from truefit.data.images import Pixels
from truefit.data.imageset import Data
from truefit.data.sources import Options, from_arrays
from truefit.data.splits import Labels
from truefit.errors import InputError

_CLASSES = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "svhn": "SVHN",
}
NAMES = tuple(_CLASSES)
_DIGITS = tuple(str(digit) for digit in range(10))
_MIRROR = ("cifar10", "cifar100", "fashion-mnist")


def load(name: str, options: Options) -> Data:
    """The set's own test split; validation is drawn from train. 28 x 28 (both mnist) or 32 x 32 pixels.

    Cached in `options.root`, else $TRUEFIT_DATA, else ~/.cache/truefit/data.
    Raises `InputError`, which says what to put where by hand, when the files cannot be had.
    """
    from torchvision import datasets

    kind = getattr(datasets, _CLASSES[name])
    root = cache_folder(options.root)
    train, test = _fetch(name, kind, root)
    classes = _DIGITS if name in ("mnist", "svhn") else tuple(train.classes)
    return from_arrays(name, options, classes=classes, train=_arrays(train), test=_arrays(test), mirror=name in _MIRROR)


def is_local(name: str) -> bool:
    """Whether the files that torchvision downloads are all there."""
    from torchvision import datasets

    return all(file.is_file() for file, _, _ in _downloads(getattr(datasets, _CLASSES[name]), cache_folder()))


def cache_folder(root: Path | None = None) -> Path:
    """Where downloads are kept: `root`, else $TRUEFIT_DATA, else ~/.cache/truefit/data."""
    chosen = root or os.environ.get("TRUEFIT_DATA") or Path("~/.cache/truefit/data")
    return Path(chosen).expanduser()


def _fetch(name: str, kind: Any, root: Path) -> tuple[Any, Any]:
    """torchvision's data sets for train and test; what is damaged is removed, and fetched once more."""
    for last_attempt in (False, True):
        try:
            root.mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings():
                # About the pickles and archives as they were written long ago; nothing for the user to do.
                warnings.simplefilter("ignore")
                if name == "svhn":
                    return tuple(kind(root, split=split, download=True) for split in ("train", "test"))
                return kind(root, train=True, download=True), kind(root, train=False, download=True)
        except Exception as error:  # what a broken file or connection raises differs from format to format
            _remove_damaged(kind, root)
            if last_attempt:
                raise _not_available(name, kind, root, error) from error
    raise AssertionError("the last attempt returns or raises")


def _not_available(name: str, kind: Any, root: Path, error: Exception) -> InputError:
    files = _downloads(kind, root)
    url = files[0][2]
    return InputError(
        f"{name} could not be downloaded",
        where=f"{urlparse(url).netloc} -> {root}",
        found=f"{type(error).__name__}: {' '.join(str(error).split())}",
        wanted="a connection to that host, or its files already in the folder",
        fix=f"fetch {', '.join(file.name for file, _, _ in files)} from {url.rpartition('/')[0]}/ by hand "
        f"and put them into {files[0][0].parent}, or set TRUEFIT_DATA to a folder that is laid out like it",
    )


def _downloads(kind: Any, root: Path) -> list[tuple[Path, str, str]]:
    """The files that torchvision downloads for `kind`: (where it puts it, md5, URL)."""
    if hasattr(kind, "resources"):
        raw = root / kind.__name__ / "raw"
        return [(raw / file, md5, kind.mirrors[0] + file) for file, md5 in kind.resources]
    if hasattr(kind, "split_list"):
        wanted = (kind.split_list[split] for split in ("train", "test"))
        return [(root / file, md5, url) for url, file, md5 in wanted]
    return [(root / kind.filename, kind.tgz_md5, kind.url)]


def _remove_damaged(kind: Any, root: Path) -> None:
    """Delete downloads that are not whole, and unpacked idx files, which torchvision trusts."""
    from torchvision.datasets.utils import check_integrity

    for file, md5, _ in _downloads(kind, root):
        if file.exists() and not check_integrity(file, md5):
            file.unlink()
        unpacked = file.with_suffix("")
        if hasattr(kind, "resources") and unpacked.exists() and not _whole_idx(unpacked):
            unpacked.unlink()


def _whole_idx(file: Path) -> bool:
    """Whether a file of bytes in idx format is as long as its header says (yann.lecun.com/exdb/mnist)."""
    with file.open("rb") as stream:
        magic = stream.read(4)
        header = stream.read(4 * magic[3]) if len(magic) == 4 else b""
    if not header or len(header) < 4 * magic[3]:
        return False
    elements = int(np.prod(struct.unpack(f">{magic[3]}I", header), dtype=np.int64))
    return file.stat().st_size == 4 + len(header) + elements


def _arrays(dataset: Any) -> tuple[Pixels, Labels]:
    """uint8 (n, H, W, 3) and int64 (n,) of a torchvision data set."""
    pixels = np.asarray(dataset.data)
    if pixels.ndim == 3:  # grey
        pixels = np.repeat(pixels[..., np.newaxis], 3, axis=3)
    elif pixels.shape[3] != 3:  # svhn: channels first
        pixels = pixels.transpose(0, 2, 3, 1)
    labels = dataset.labels if hasattr(dataset, "labels") else dataset.targets
    return np.ascontiguousarray(pixels), np.asarray(labels, np.int64)
