"""Where do data sets that are known by name come from? One module of this package for each source.

To add a source, add one file here; it is found by looking through the package. It defines

    NAMES: tuple[str, ...]                            the names it answers to
    load(name: str, options: Options) -> Data         one of them, split and in memory

or, for data that is found by a path or an address,

    claims(spec: str) -> bool                         whether this is such data, by its looks alone
    listing(spec: str, options: Options) -> Listing   which samples there are; `listing.arrange` splits them

`folder` has neither: it is the source for everything else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from truefit.data.columns import Columns
from truefit.data.images import Interpolation, Pixels, Progress, Resize, resize_pixels
from truefit.data.imageset import Data, ImageSet, available_memory
from truefit.data.listing import Listing
from truefit.data.splits import Labels, check_fraction, hold_out
from truefit.errors import InputError

DEFAULT_VAL_FRACTION = 0.1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a data set is to be loaded; see `lookup.load_data`. Checked when made: raises `InputError`."""

    image_size: int | None = None
    resize: Resize = "crop"
    interpolation: Interpolation = "bicubic"
    val_fraction: float | None = None
    split_seed: int = 0
    skip_unreadable: bool = False
    root: Path | None = None
    default_image_size: int = 32
    memory_share: float = 0.25
    on_progress: Progress | None = None
    columns: Columns = field(default_factory=Columns)

    def __post_init__(self) -> None:
        check_fraction(self.val_fraction)
        if self.image_size is not None and self.image_size < 1:
            raise InputError(
                "image_size is out of range",
                where="--image-size",
                found=self.image_size,
                wanted="at least 1 pixel",
            )
        if self.resize not in ("crop", "stretch"):
            raise InputError("resize is unknown", where="--resize", found=self.resize, wanted="crop or stretch")
        if self.interpolation not in get_args(Interpolation):
            wanted = ", ".join(get_args(Interpolation))
            raise InputError("interpolation is unknown", found=self.interpolation, wanted=wanted)

    @property
    def fraction(self) -> float:
        """The share to be held out for validation, the default put in."""
        return DEFAULT_VAL_FRACTION if self.val_fraction is None else self.val_fraction


Loader = Callable[[str, Options], Data]


def sources() -> dict[str, Loader]:
    """The loader of each known name."""
    loaders: dict[str, Loader] = {}
    for module in pkgutil.iter_modules(__path__):
        source = importlib.import_module(f"{__name__}.{module.name}")
        for name in getattr(source, "NAMES", ()):
            loaders[name] = source.load
    return loaders


def listing_of(spec: str, options: Options) -> Listing | None:
    """The samples of a table, a file of arrays, shards ..., where a source claims `spec`; None where none does."""
    for module in pkgutil.iter_modules(__path__):
        source = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(source, "claims") and source.claims(spec):
            found: Listing = source.listing(spec, options)
            return found
    return None


def is_local(name: str) -> bool:
    """Whether a known name can be loaded now, without a download: a source that downloads says so by `is_local`."""
    for module in pkgutil.iter_modules(__path__):
        source = importlib.import_module(f"{__name__}.{module.name}")
        if name in getattr(source, "NAMES", ()):
            return not hasattr(source, "is_local") or bool(source.is_local(name))
    return False


def from_arrays(
    name: str,
    options: Options,
    *,
    classes: tuple[str, ...],
    train: tuple[Pixels, Labels],
    test: tuple[Pixels, Labels],
    mirror: bool,
) -> Data:
    """`Data` from arrays: validation is drawn from train; images are brought to `options.image_size`, if set.

    train, test: uint8 (n, H, W, 3) and integer (n,). Raises `InputError` if they would not fit into memory.
    """
    size = options.image_size or train[0].shape[1]
    needed, free = (len(train[0]) + len(test[0])) * size * size * 3, available_memory()
    if needed > free:
        raise InputError(
            f"{name} does not fit into memory at this size",
            where=f"{size} x {size} pixels",
            found=f"{free / 2**30:.1f} GiB free",
            wanted=f"{needed / 2**30:.1f} GiB",
            fix="choose a smaller --image-size",
        )

    def image_set(split: str, pixels: Pixels, labels: Labels) -> ImageSet:
        return ImageSet(
            split=split,
            classes=classes,
            labels=labels.astype(np.int64),
            pixels=np.ascontiguousarray(resize_pixels(pixels, size, options.resize, options.interpolation)),
            image_size=size,
            resize=options.resize,
            interpolation=options.interpolation,
        )

    whole = image_set("train", *train)
    validation = None
    notes: tuple[str, ...] = ()
    rest = whole
    if options.fraction > 0:
        kept, held = hold_out(
            whole.labels,
            round(options.fraction * len(whole)),
            classes=classes,
            split="validation",
            split_seed=options.split_seed,
            where=name,
        )
        rest, validation = whole.subset(kept), whole.subset(held, "validation")
        notes = (drawn_note(validation, "train", options.split_seed),)
    return Data(
        name=name,
        spec=name,
        train=rest,
        validation=validation,
        test=image_set("test", *test),
        mirror=mirror,
        notes=notes,
        drawn=("validation",) if validation is not None else (),
    )


def drawn_note(held: ImageSet, source: str, split_seed: int) -> str:
    """The note that a split was drawn and not given."""
    return f"{held.split}: {len(held)} images drawn from {source}, stratified by class (split seed {split_seed})"
