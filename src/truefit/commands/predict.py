"""`truefit predict RUN IMAGE_OR_FOLDER...`: classify images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from truefit.commands.arguments import parse

CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Classify images: a line each with file, class and probability. Exit code 1 where none can be read."""

    run: Annotated[Path, tyro.conf.Positional]
    """A folder that truefit train wrote."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, or folders that are searched for them."""
    model: str | None = None
    """package.module:callable that makes the network, where the run's is not one of truefit's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    sure: float | None = None
    """A wanted accuracy, such as 0.95: answer "not sure" below the threshold that calibration fixed for it."""
    json: bool = False
    """Print one machine-readable line on stdout instead of the table."""


def main(arguments: Sequence[str]) -> int:
    """Parse, classify, print."""
    command = parse(PredictCommand, "predict", arguments)

    from truefit.commands.output import one_line, print_json, promise_line
    from truefit.commands.supplied import supplied_network
    from truefit.config import to_plain
    from truefit.data.lookup import list_images
    from truefit.errors import InputError
    from truefit.loading import load

    if not command.images:
        raise InputError("no image is named", fix="truefit predict RUN IMAGE_OR_FOLDER...")
    files = [file for place in command.images for file in list_images(place)]
    run = load(command.run, network=supplied_network(command.model), device=command.device)
    found: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    guarantee = None
    for start in range(0, len(files), CHUNK):
        predictions = run.predict(files[start : start + CHUNK], sure=command.sure)
        unreadable |= predictions.unreadable
        guarantee = predictions.guarantee
        for prediction in predictions:
            if command.json:
                found.append(
                    {
                        "path": prediction.path,
                        "predicted": prediction.predicted,
                        "probability": prediction.probability,
                        "probabilities": prediction.probabilities,
                        **({} if prediction.labels is None else {"labels": list(prediction.labels)}),
                        **({} if command.sure is None else {"answer": prediction.answer, "sure": prediction.sure}),
                    }
                )
            else:
                print(f"{one_line(prediction.path)}\t{prediction.answer}\t{prediction.probability:.3f}")
    for path, reason in unreadable.items():
        print(f"unreadable: {one_line(path)}: {reason}", file=sys.stderr)
    if command.json:
        promise = {} if guarantee is None else {"guarantee": to_plain(guarantee)}
        print_json({"run": str(command.run), **promise, "predictions": found, "unreadable": unreadable})
    elif guarantee is not None:
        print(promise_line(guarantee), file=sys.stderr)
    return 1 if len(unreadable) == len(files) else 0
