"""What `truefit train --dry-run` does: one step, one evaluation, one save, and all of it removed again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from truefit.commands.output import print_json
from truefit.data.imageset import Data, ImageSet
from truefit.errors import InputError
from truefit.repeating import check_folder
from truefit.runs.folder import RunFolder
from truefit.runs.ledger import unrecorded
from truefit.trainer import Trainer

if TYPE_CHECKING:
    from truefit.commands.train import TrainCommand


def dry_run(command: TrainCommand, trainer: Trainer, data: Data, out: Path, say: Callable[[str], None]) -> int:
    """Find all that is wrong by a training of one step, which leaves nothing behind."""
    recipe = trainer.recipe.for_samples(len(data.train))
    trainer.recipe, trainer.max_time = replace(recipe, epochs=1, early_stopping=None), None
    small = replace(
        data,
        train=_few(data.train, recipe.batch_size),
        validation=_few(data.validation, 64) if data.validation is not None else None,
        test=_few(data.test, 64) if data.test is not None else None,
    )
    if command.seeds is not None:
        check_folder(out)
    elif not command.resume:
        RunFolder.check_new(out, overwrite=command.overwrite)
    parent = next(place for place in out.absolute().parents if place.is_dir())
    try:
        place = Path(tempfile.mkdtemp(prefix=".truefit-dry-run-", dir=parent))
    except OSError as error:
        raise InputError("the output folder can't be written", where=out, found=error) from error
    trainer.observers = []
    try:
        with unrecorded():
            trainer.fit(small, out=place / "run", report=False, select_on=command.config.select_on)
    finally:
        shutil.rmtree(place)
    sizes = {part.split: len(part) for part in data.splits}
    if not command.quiet:
        say(f"dry run: all is well ({', '.join(f'{n:,} {split}' for split, n in sizes.items())}); nothing was kept")
    if command.json:
        print_json({"dry_run": True, "samples": sizes})
    return 0


def _few(images: ImageSet, count: int) -> ImageSet:
    """So many of the images, from all over the set."""
    step = max(1, len(images) // count)
    return images.subset(range(0, len(images), step)[:count])
