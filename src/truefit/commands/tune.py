"""`truefit tune [DATA]`: a search for better settings, which can be broken off and gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from truefit.commands.arguments import parse


@dataclass(frozen=True, kw_only=True)
class TuneCommand:
    """Search learning rate, weight decay, batch size and label smoothing on validation, then compare the best with the
    default. The same command again goes on where it was broken off."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = "digits"
    """A name or a folder, as for train."""
    out: Path = Path("runs/tune")
    """A new folder, or one of the same search to go on with."""
    trials: int = 20
    """How many trials in all."""
    model: str = "convnet"
    """The name of a model."""
    recipe: str = "standard"
    """The name of the recipe to begin from: the first trial, and the default that the best is compared with."""
    epochs: int | None = None
    """Instead of the recipe's."""
    lr: float | None = None
    """Instead of the recipe's learning rate; a search goes from a 30th of it to 30 times as much."""
    image_size: int | None = None
    """As for train."""
    seed: int = 0
    """Of the sampler and of every training."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    json: bool = False
    """Print one machine-readable line on stdout; everything else goes to stderr."""


def main(arguments: Sequence[str]) -> int:
    """Parse, search, print."""
    command = parse(TuneCommand, "tune", arguments)

    from truefit.commands.output import human_stream, print_json
    from truefit.data.lookup import load_data
    from truefit.events import Event, Note
    from truefit.models.lookup import image_sizes
    from truefit.recipes.lookup import find_recipe
    from truefit.runs.files import read_json
    from truefit.trainer import Trainer
    from truefit.tuning import tune

    recipe = find_recipe(command.recipe)
    if command.lr is not None:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, lr=command.lr))
    device = None if command.device == "auto" else command.device
    trainer = Trainer(command.model, recipe, epochs=command.epochs, seed=command.seed, device=device)
    data = load_data(command.data, image_size=command.image_size, default_image_size=image_sizes(command.model)[1])
    stream = human_stream(command.json)

    def say(event: Event) -> None:
        if isinstance(event, Note):
            print(event.text, file=stream, flush=True)

    found = tune(trainer, data, out=command.out, trials=command.trials, observe=say)
    print(f"best on validation: {found.settings}", file=stream)
    print(found, file=stream)
    print(
        f"  {command.out}: study.db, tune.json, tune.svg, report.html, default/" + ", best/" * found.improved,
        file=stream,
    )
    if command.json:
        print_json({"folder": str(command.out), **read_json(command.out / "tune.json")})
    return 0
