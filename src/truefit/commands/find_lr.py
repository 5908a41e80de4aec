"""`truefit find-lr [DATA]`: one number for --lr, and the plot that it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from truefit.commands.arguments import parse
from truefit.recipes.recipe import OptimizerName


@dataclass(frozen=True, kw_only=True)
class FindLrCommand:
    """Let the learning rate grow with every step, until the loss gets worse, and suggest one for train --lr. Nothing is
    trained for good."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = "digits"
    """A name or a folder, as for train."""
    model: str = "convnet"
    """As for train."""
    recipe: str = "standard"
    """The name of a recipe."""
    optimizer: OptimizerName | None = None
    """Instead of the recipe's."""
    batch_size: int | None = None
    """Instead of the recipe's: the best rate depends on it."""
    image_size: int | None = None
    """As for train."""
    steps: int = 150
    """How many steps, at most."""
    seed: int = 0
    """Decides initial weights, order and augmentation."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    out: Path | None = None
    """A file for the plot: .svg, .png or .pdf."""
    overwrite: bool = False
    """Replace the file where there is one."""
    json: bool = False
    """Print one machine-readable line on stdout; everything else goes to stderr."""


def main(arguments: Sequence[str]) -> int:
    """Parse, run the test, print the suggestion."""
    command = parse(FindLrCommand, "find-lr", arguments)

    from truefit import rng
    from truefit.commands.output import human_stream, print_json
    from truefit.commands.supplied import is_own, supplied_network
    from truefit.config import require
    from truefit.data.lookup import load_data
    from truefit.errors import InputError
    from truefit.find_lr import find_lr
    from truefit.models.lookup import image_sizes
    from truefit.recipes.lookup import find_recipe
    from truefit.trainer import Trainer

    require(0 <= command.seed < 2**63, "seed", command.seed, "from 0 to below 2^63")
    if command.out is not None and (
        command.out.suffix not in (".svg", ".png", ".pdf")
        or not command.out.absolute().parent.is_dir()
        or command.out.is_dir()
    ):
        raise InputError(
            "the plot can't be written", where=command.out, wanted="a .svg, .png or .pdf in a folder that exists"
        )
    if command.out is not None and command.out.exists() and not command.overwrite:
        raise InputError("there is a file in the way", where=command.out, fix="name another --out, or say --overwrite")
    recipe = find_recipe(command.recipe)
    if command.optimizer is not None:
        recipe = recipe.with_optimizer(command.optimizer)
    if command.batch_size is not None:
        recipe = recipe.with_batch_size(command.batch_size)
    own = is_own(command.model)
    with rng.seeded(command.seed):
        model = supplied_network(command.model) if own else None
    device = None if command.device == "auto" else command.device
    usual = 32 if own else image_sizes(command.model)[1]
    data = load_data(command.data, image_size=command.image_size, default_image_size=usual)
    recipe = recipe.for_samples(len(data.train))
    trainer = Trainer(model if model is not None else command.model, recipe, seed=command.seed, device=device)
    found = find_lr(trainer, data, steps=command.steps)
    stream = human_stream(command.json)
    print(
        f"suggested: --lr {found.suggestion:.1e}  (a tenth of {found.suggestion * 10:.1e}, where the smoothed loss was "
        f"lowest; {len(found.lrs)} steps, batch size {recipe.batch_size})",
        file=stream,
    )
    if command.out is not None:
        found.plot().savefig(command.out)
        print(f"  plot: {command.out}", file=stream)
    if command.json:
        print_json({"suggestion": found.suggestion, "lrs": list(found.lrs), "losses": list(found.losses)})
    return 0
