"""Which samples does one data set share with another? Found by place, by file and by content, exact copies only."""

from __future__ import annotations

import hashlib
import os
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from truefit import rng
from truefit.data.cachefile import DIGEST, digest
from truefit.data.imageset import ImageSet
from truefit.errors import InputError

Keys: TypeAlias = npt.NDArray[np.void]
"""V16 (n,): samples with equal keys are the same."""

PROBES = 8


def shared(first: Dataset[Any], second: Dataset[Any]) -> npt.NDArray[np.int64]:
    """Positions in `first` of the samples that `second` holds too, sorted, int64.

    Samples are the same where they come from the same place (an index of the same data set, also inside a
    `Subset` or `ConcatDataset`), from the same file (`samples` of torchvision's folders), or hold the same bytes:
    images of an `ImageSet`, first tensor of a `TensorDataset`, rows of an attribute `data` (torchvision's sets).
    Labels do not count. Of other data sets of equal length a few samples are fetched and compared, position by
    position: all are taken for shared when these are equal. Copies that were decoded, resized or augmented
    differently are not found.
    """
    left, right = _keys(first), _keys(second)
    found = np.zeros(len(next(iter(left.values()), ())), bool)
    for kind in left.keys() & right.keys():
        found |= np.isin(left[kind], right[kind])
    if not found.any() and not {"content", "file"} & left.keys() & right.keys() and _same_samples(first, second):
        found[:] = True
    return np.flatnonzero(found)


def refuse_shared_with_test(validation_set: Dataset[Any], test_set: Dataset[Any], what: str = "validation set") -> None:
    """Raise InputError where a set that is to choose something holds samples of the test set."""
    count = len(shared(validation_set, test_set))
    if count:
        raise InputError(
            f"the {what} shares samples with the test set, which must not choose anything",
            found=f"{count:,} samples that are in both",
            wanted="no sample of test among those that choose the best epoch, a temperature or a threshold",
            fix='take them out of one of the two; or say select_on="test" (--select-on test), and every figure is '
            'labelled "selected on test"',
        )


def _keys(dataset: Any) -> dict[str, Keys]:
    """For each way to know a sample again that this data set offers: a key a sample."""
    if isinstance(dataset, Subset):
        rows = np.asarray(dataset.indices, np.int64)
        return {kind: keys[rows] for kind, keys in _keys(dataset.dataset).items()}
    if isinstance(dataset, ConcatDataset):
        parts = [_keys(part) for part in dataset.datasets]
        kinds = set.intersection(*(set(part) for part in parts))
        return {kind: np.concatenate([part[kind] for part in parts]) for kind in kinds}
    try:
        count = len(dataset)
    except TypeError:  # an iterable one
        return {}
    place = np.stack([np.full(count, id(dataset), np.int64), np.arange(count, dtype=np.int64)], axis=1)
    found = {"place": np.ascontiguousarray(place).view(f"V{DIGEST}")[:, 0]}
    content, files = _content(dataset), getattr(dataset, "samples", None)
    if content is not None and len(content) == count:
        found["content"] = content
    elif isinstance(files, list) and len(files) == count and all(isinstance(f, tuple) and f for f in files):
        found["file"] = _digests([os.path.realpath(str(file[0])).encode("utf-8", "surrogateescape") for file in files])
    return found


def _content(dataset: Any) -> Keys | None:
    """The digest of each sample's bytes, where these can be had without fetching every sample."""
    if isinstance(dataset, ImageSet):
        return dataset.sample_digests()
    rows = dataset.tensors[0] if isinstance(dataset, TensorDataset) else getattr(dataset, "data", None)
    if isinstance(rows, Tensor):
        rows = rows.detach().cpu().numpy()
    if not isinstance(rows, np.ndarray) or rows.ndim < 2 or rows.dtype == object:
        return None
    about = hashlib.blake2b(f"{rows.dtype} {rows.shape[1:]}".encode(), digest_size=DIGEST).digest()
    return _digests([about + np.ascontiguousarray(row).tobytes() for row in rows])


def _digests(values: list[bytes]) -> Keys:
    return np.frombuffer(b"".join(map(digest, values)), f"V{DIGEST}")


def _same_samples(first: Any, second: Any) -> bool:
    """Whether samples at the same positions, evenly spaced, are equal in both."""
    try:
        count = len(first)
        if count == 0 or count != len(second):
            return False
    except TypeError:
        return False
    with rng.preserved():
        for at in {position * (count - 1) // max(1, PROBES - 1) for position in range(PROBES)}:
            left, right = np.asarray(first[at][0]), np.asarray(second[at][0])
            if left.shape != right.shape or not np.array_equal(left, right):
                return False
    return True
