"""`digits`: the handwritten digits that come with scikit-learn, for a first run without a download.

1,797 images of 8 x 8 pixels with 17 levels of grey, brought to 3 x 32 x 32; 360 of them are the test split.
They are the test half of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from truefit.data.imageset import Data
from truefit.data.sources import Options, from_arrays
from truefit.data.splits import hold_out

NAMES = ("digits",)
_TEST = 360
_SIZE = 32


def load(name: str, options: Options) -> Data:
    """Test: 360 images; validation: `val_fraction` of the other 1,437. Both are stratified."""
    levels, labels = _read()
    grey = np.round(levels * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., np.newaxis], 3, axis=3)
    classes = tuple(str(digit) for digit in range(10))
    rest, test = hold_out(labels, _TEST, classes=classes, split="test", split_seed=options.split_seed, keep=2)
    return from_arrays(
        name,
        replace(options, image_size=options.image_size or _SIZE),
        classes=classes,
        train=(pixels[rest], labels[rest]),
        test=(pixels[test], labels[test]),
        mirror=False,
    )


def _read() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Levels of grey 0..16 (1797, 8, 8), and labels (1797,): from scikit-learn's file, without importing scikit-learn,
    which takes longer than reading, splitting and the first step together."""
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():  # another version may keep it elsewhere
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return bunch.images, bunch.target.astype(np.int64)
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
