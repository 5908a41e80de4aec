"""Starting a new run from weights: those of another run, or pretrained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from truefit.checkpoint.state import load_weights
from truefit.data.imageset import Data
from truefit.errors import InputError
from truefit.events import Note, Observer
from truefit.fitting.plan import StartingWeights
from truefit.models.weights import Matched, Weights, take_in
from truefit.runs.folder import RunFolder


def weights_of(run: str | Path) -> StartingWeights:
    """The weights that a run keeps in model/. InputError where there are none, or they are damaged."""
    place = Path(run)
    if place.is_file():
        raise InputError(
            "--from wants a run folder, not a file of weights",
            where=place,
            found="a file; one that torch.save wrote is a pickle, and reading it can execute code",
            wanted="a folder that truefit train wrote",
        )
    folder = RunFolder.open(place)
    description, weights, _ = folder.read_model()
    about = {
        "run": str(place),
        "weights": description["weights"],
        "architecture": description["architecture"]["class"],
        "digest": description["digests"]["weights"],
    }
    return StartingWeights(weights=dict(weights), about=about, data=folder.read_config()["data"])


def note_seen(start: StartingWeights, data: dict[str, Any], notify: Observer) -> None:
    """Warn where the same data is split in another way than in the run whose weights are started from.

    Its training samples are then among those that this run is measured on. data: from `Setup.describe_data`.
    """
    before = start.data
    if before.get("spec") is None or before["spec"] != data.get("spec"):
        return
    prints = [
        {split: about["splits"].get(split, {}).get("fingerprint") for split in ("validation", "test")}
        for about in (before, data)
    ]
    changed = [split for split, found in prints[1].items() if found is not None and found != prints[0][split]]
    if changed:
        text = (
            f"the weights to start from ({start.about['run']}) were trained on another split of the same data: they "
            f"have seen samples of {' and '.join(changed)}, whose figures are too good"
        )
        notify(Note(text=text, warning=True))


def refuse_seen(run: str | Path | None, data: Data, what: str) -> None:
    """InputError where the run to start from was trained on this very data: its weights have seen what is held out."""
    if run is None:
        return
    about = RunFolder.open(run).read_config()["data"]
    if about.get("spec") == data.spec:
        raise InputError(
            f"{what} can't start from weights that were trained on the same data",
            where=run,
            found=f"a run on {data.spec}",
            wanted="weights that have not seen the images that are held out",
            fix="leave --from out, or name a run on other data",
        )


def start_from(network: nn.Module, start: StartingWeights) -> None:
    """Put the weights into a network. InputError where they are not for one like it."""
    try:
        load_weights(network, start.weights)
    except RuntimeError as error:
        raise InputError(
            "the weights to start from do not fit the network",
            where=start.about["run"],
            found=error,
            wanted="the same architecture with the same number of classes",
        ) from error


def begin_with(network: nn.Module, weights: Weights, notify: Observer) -> Matched:
    """Give the network what fits of pretrained weights, and say how much that is. InputError where it is nothing."""
    matched = take_in(network, weights)
    # The layer of the classes is new as a rule: a weight and a bias. More than that is worth a second look.
    notify(Note(text=f"weights of {weights.place}: {matched}", warning=len(matched.missing) > 2))
    return matched
