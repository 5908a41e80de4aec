"""Files of NumPy: an archive `data.npz` with images and labels, or `images.npy` with `labels.npy` beside it.

Which array is what is told by its name, see `data.arrays`. Nothing in a file is executed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from truefit.data.arrays import listing_of_arrays
from truefit.data.listing import Listing
from truefit.data.sources import Options
from truefit.errors import InputError


def claims(spec: str) -> bool:
    """By the suffix; a folder that is called so is a folder."""
    path = Path(spec).expanduser()
    return path.suffix.lower() in (".npz", ".npy") and not path.is_dir()


def listing(spec: str, options: Options) -> Listing:
    """The samples of the file. Raises InputError where it can't be read, and as `listing_of_arrays` does."""
    path = Path(spec).expanduser().absolute()
    if not path.is_file():
        raise InputError("there is no such file", where=path, found="nothing")
    if path.suffix.lower() == ".npz":
        return listing_of_arrays(_read(path), path)
    beside = next(
        (p for p in (path.with_name(f"{path.stem}_labels.npy"), path.with_name("labels.npy")) if p.is_file()), None
    )
    if beside is None or beside == path:
        raise InputError(
            "there are no labels beside the images",
            where=path,
            wanted=f"{path.stem}_labels.npy or labels.npy in the same folder; or both in one file .npz",
        )
    return listing_of_arrays({"images": _read(path)[""], "labels": _read(beside)[""]}, path)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive by their names; a single array has the name ""."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            return {"": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except Exception as error:  # broken files raise zipfile's, zlib's and NumPy's own
        # NumPy's own words advise to load it unsafely.
        found = "no file of NumPy's, or one with objects in it" if "pickle" in str(error) else error
        raise InputError(
            "the file can't be read", where=path, found=found, wanted="arrays of numbers or text, whole"
        ) from error
