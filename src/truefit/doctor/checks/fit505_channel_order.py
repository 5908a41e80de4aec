"""Images come in the order blue, green, red, where their files say red, green, blue."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from truefit.doctor.datasets import base_and_indices
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, LoaderSeen, Log
from truefit.doctor.rule import Rule
from truefit.doctor.samples import fetch

RULE = Rule(
    "FIT505",
    "channel-order",
    "data",
    Severity.FAIL,
    "Training and evaluation, and the network that weights come from, have their channels in one order.",
)
FILES, LEAST, AGREES = 32, 12, 0.9
LISTS = ("samples", "imgs", "image_paths", "img_paths", "paths", "files", "filenames", "image_files")


def check(log: Log) -> Finding:
    loaders = [(seen, True) for seen in log.training_loaders()] + [(seen, False) for seen in log.evaluation_loaders()]
    found = [(seen, trains, order) for seen, trains in loaders if (order := _agreement(seen)) is not None]
    if not found:
        return RULE.not_applicable("no data set that lists its image files, and gives tensors of three channels")
    reversed_ = [(seen, trains, order) for seen, trains, order in found if order < -AGREES]
    straight = [(seen, trains, order) for seen, trains, order in found if order > AGREES]
    if not reversed_:
        return RULE.ok("Channels come in the order of the files.", numbers={"loaders": len(found)})
    seen, trains, order = reversed_[0]
    numbers: dict[str, int | float | str] = {
        "agreement of red minus blue with the files": round(order, 3),
        "reversed below": -AGREES,
    }
    fix = "image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # or image[..., ::-1].copy()"
    if any(other != trains for _, other, _ in straight):
        return RULE.fail(
            f"{'Training' if trains else 'The evaluation'} gets its images as blue, green, red, and "
            f"{'the evaluation' if trains else 'training'} as red, green, blue.",
            where=seen.where,
            numbers=numbers,
            fix=fix,
        )
    if any(one.what == "model" for one in log.all(Loaded)):
        return RULE.warn(
            "Images come as blue, green, red, and weights were loaded: nearly all published ones want RGB.",
            where=seen.where,
            numbers=numbers,
            fix=fix,
        )
    return RULE.tip(
        "Images come as blue, green, red, in training and evaluation alike.", where=seen.where, numbers=numbers
    )


def _agreement(seen: LoaderSeen) -> float | None:
    """Correlation over files of red minus blue, in the file and in the tensor: 1 in order, -1 reversed."""
    found = base_and_indices(seen.loader)
    paths = _paths(found[0]) if found is not None else None
    if found is None or paths is None:
        return None
    dataset, indices = found
    chosen = indices[np.unique(np.linspace(0, len(indices) - 1, FILES).astype(int))] if len(indices) else []
    stored, given = [], []
    for index in chosen:
        sample = fetch(dataset, int(index), 1)
        try:
            with Image.open(paths[int(index)]) as image:
                pixels = np.asarray(image.convert("RGB").resize((32, 32)), dtype=np.float64)
        except OSError:
            return None
        if sample is None or sample[0].ndim != 3 or len(sample[0]) != 3:
            return None
        stored.append(pixels[..., 0].mean() - pixels[..., 2].mean())
        given.append(float(sample[0][0].float().mean() - sample[0][2].float().mean()))
    # Grey pictures say nothing.
    if len(stored) < LEAST or np.std(stored) < 3 or np.std(given) == 0:
        return None
    return float(np.corrcoef(stored, given)[0, 1])


def _paths(dataset: Any) -> list[str] | None:
    for name in LISTS:
        held = getattr(dataset, name, None)
        if isinstance(held, list) and len(held) == len(dataset):
            paths = [one[0] if isinstance(one, list | tuple) and one else one for one in held]
            if all(hasattr(one, "__fspath__") or isinstance(one, str) for one in paths):
                return [str(one) for one in paths]
    return None
