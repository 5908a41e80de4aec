"""Files of torch: `data.pt` with tensors, as `{"images": ..., "labels": ...}`, by splits, or (images, labels).

Which tensor is what is told by its name, see `data.arrays`. Nothing in a file is executed (`weights_only`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from truefit.data.arrays import listing_of_arrays
from truefit.data.listing import Listing
from truefit.data.sources import Options
from truefit.errors import InputError


def claims(spec: str) -> bool:
    """By the suffix; a folder that is called so is a folder."""
    path = Path(spec).expanduser()
    return path.suffix.lower() in (".pt", ".pth") and not path.is_dir()


def listing(spec: str, options: Options) -> Listing:
    """The samples of the file. Raises InputError where it holds anything but tensors, and as `listing_of_arrays`."""
    path = Path(spec).expanduser().absolute()
    if not path.is_file():
        raise InputError("there is no such file", where=path, found="nothing")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is none, or holds what would have to be executed
        raise InputError(
            "the file can't be read without executing code, or is damaged",
            where=path,
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            wanted="tensors and names alone",
            fix='torch.save({"images": images, "labels": labels}, path)',
        ) from error
    arrays: dict[str, np.ndarray] = {}
    _collect(content, "", arrays, path)
    return listing_of_arrays(arrays, path)


def _collect(value: Any, name: str, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Every tensor by its name; those inside of others by both names."""
    if isinstance(value, Tensor):
        value = value.detach()
        arrays[name] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(item, f"{name}_{key}".strip("_"), arrays, path)
    elif isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(item, Tensor) for item in value):
        for role, item in zip(("images", "labels"), value, strict=True):
            _collect(item, f"{name}_{role}".strip("_"), arrays, path)
    elif isinstance(value, tuple | list) and value and all(isinstance(item, str) for item in value):
        arrays[name] = np.asarray(value)
    else:
        raise InputError(
            "the file holds something else than tensors",
            where=path,
            found=f"{type(value).__name__} as {name or 'the whole'}",
            wanted='{"images": tensor, "labels": tensor}, the same for each split, or (images, labels)',
        )
