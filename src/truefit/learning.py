"""Would more data help? Trainings on growing parts of train, and a curve through their figures."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from truefit import rng
from truefit.config import to_plain
from truefit.data.imageset import Data, ImageSet
from truefit.data.lookup import load_data
from truefit.errors import InputError
from truefit.events import Note
from truefit.fitting.start import refuse_seen
from truefit.metrics.power_law import PowerLaw, bootstrap, fit_power_law
from truefit.runs.files import write_json
from truefit.trainer import Trainer

SHARES = (0.12, 0.25, 0.5, 1.0)
DRAWS = 400
# Places along the fitted curve where its band is told.
STEPS = 24


def learning_curve(
    trainer: Trainer,
    data: Data | str | Path,
    *,
    shares: Sequence[float] = SHARES,
    seeds: int = 3,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Train on parts of train and measure each on validation; test is not touched.

    shares: fractions of train, each above 0, the last one 1. For each seed (the trainer's, and those that follow)
    the parts are nested and stratified by class, and drawn anew. Every training follows the recipe as one on so many
    images would: the same epochs, and where it has `least_steps` smaller batches on fewer images. The figures are those
    of each training's best epoch, hence selected on validation. out: a new or empty folder for learning_curve.json;
    None writes nothing.

    Returns what learning_curve.json holds: points (share, n, accuracies of the seeds, accuracy, interval: 2.5 and
    97.5 % of bootstrap draws over images and seeds), curve (fitted power law), curve_band (n, accuracy and its interval
    up to twice the images), forecast (n, accuracy, gain, interval of the
    gain), trustworthy, reasons, sentence. Raises InputError where there is no validation split.
    """
    if not isinstance(data, Data):
        data = load_data(data)
    if data.validation is None:
        raise InputError(
            "a learning curve needs a validation split", fix="hold out a part of train: --val-fraction 0.1"
        )
    if not isinstance(trainer.model, str):
        raise InputError("a learning curve needs a model that is built anew", fix="name the model, such as convnet")
    if not (
        len(shares) >= 3 and list(shares) == sorted(set(shares)) and shares[0] > 0 and shares[-1] == 1 and seeds >= 2
    ):
        raise InputError(
            "shares or seeds do not fit",
            found=(tuple(shares), seeds),
            wanted="3 or more growing shares up to 1; 2 or more seeds",
        )
    trainer.refuse_measured("a learning curve")
    if data.train.multi_label:
        raise InputError("a learning curve needs one class an image", found="several labels an image")
    refuse_seen(trainer.weights_from, data, "a learning curve")
    place = None if out is None else Path(out).resolve()
    if place is not None and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError("the output folder is not empty", where=place, fix="name another --out")
    hits: list[list[np.ndarray]] = [[] for _ in shares]
    sizes = [0] * len(shares)
    for number in range(seeds):
        one = copy.copy(trainer)
        one.seed = trainer.seed + number
        for at, part in enumerate(nested(data.train, shares, one.seed)):
            trainer.notify(Note(text=f"seed {one.seed}: {len(part):,} of {len(data.train):,} images"))
            run = one.fit(part, data.validation)
            assert run.evaluation is not None
            sizes[at] = len(part)
            hits[at].append(run.evaluation.predicted == run.evaluation.label)
    points = [np.stack(rows) for rows in hits]
    result = {
        "split": "validation",
        "selected_on": "validation",
        "label": "selected on validation",
        "n": len(data.validation),
        "model": trainer.model,
        "recipe": to_plain(trainer.recipe),
        **judged(sizes, list(shares), points, classes=len(data.classes), seed=trainer.seed),
    }
    if place is not None:
        write_json(place / "learning_curve.json", result)
    return result


def nested(images: ImageSet, shares: Sequence[float], seed: int) -> list[ImageSet]:
    """Parts of a set, each within the next: of each class its share, at least one image."""
    rank = np.empty(len(images), np.int64)
    for label in range(len(images.classes)):
        members = np.flatnonzero(images.labels == label)
        order = np.random.default_rng(rng.key("nested", seed, label)).permutation(len(members))
        rank[members[order]] = np.arange(len(members))
    wanted = [np.maximum(1, np.round(share * images.counts())) for share in shares]
    return [images.subset(np.flatnonzero(rank < count[images.labels])) for count in wanted]


def judged(
    sizes: list[int], shares: list[float], hits: list[np.ndarray], *, classes: int, seed: int = 0
) -> dict[str, Any]:
    """Points, curve, forecast for twice the images, and whether to believe it. hits: bool (seeds, n) for each size."""
    accuracy = np.array([point.mean() for point in hits])
    draws = bootstrap(hits, DRAWS, seed)
    # A few images and seeds can agree by chance: no deviation is taken to be smaller than half an image's.
    deviation = np.maximum(draws.std(axis=0), 0.5 / hits[0].shape[1])
    law = fit_power_law(sizes, 1 - accuracy, deviation)
    twice = 2 * sizes[-1]
    laws = [fit_power_law(sizes, 1 - draw, deviation) for draw in draws]

    def gain(law: PowerLaw) -> float:
        return law.error(sizes[-1]) - law.error(twice)

    low, high = np.quantile([gain(one) for one in laws], (0.025, 0.975))
    reasons = []
    if float((draws[:, -1] > draws[:, -2]).mean()) < 0.975:
        reasons.append("the last step, from half to all images, shows no gain beyond chance")
    if accuracy[0] < 1.5 / classes:
        reasons.append("the smallest part gives little more than guessing, where no power law holds yet")
    fitted = np.array([law.error(n) for n in sizes])
    if (np.abs(1 - accuracy - fitted) > 3 * deviation).any():
        reasons.append("the points do not lie on a power law")
    if high - low > max(0.01, 1.5 * gain(law)):
        reasons.append("the forecast is too uncertain")
    band = np.quantile(draws, (0.025, 0.975), axis=0)
    along = [sizes[0] * (twice / sizes[0]) ** (step / STEPS) for step in range(STEPS + 1)]
    return {
        "points": [
            {
                "share": share,
                "n": n,
                "accuracies": point.mean(axis=1).tolist(),
                "accuracy": float(point.mean()),
                "interval": [float(min(bottom, point.mean())), float(max(top, point.mean()))],
            }
            for share, n, point, bottom, top in zip(shares, sizes, hits, *band, strict=True)
        ],
        "curve": to_plain(law),
        "curve_band": [
            {"n": n, "accuracy": 1 - law.error(n), "interval": np.quantile(reached, (0.025, 0.975)).tolist()}
            for n, reached in ((n, [1 - one.error(n) for one in laws]) for n in along)
        ],
        "exponent_interval": np.quantile([one.exponent for one in laws], (0.025, 0.975)).tolist(),
        "forecast": {
            "n": twice,
            "accuracy": 1 - law.error(twice),
            "gain": gain(law),
            "gain_interval": [float(low), float(high)],
        },
        "trustworthy": not reasons,
        "reasons": reasons,
        "sentence": _sentence(twice, law, gain(law), (float(low), float(high)), reasons),
    }


def _sentence(twice: int, law: PowerLaw, gain: float, interval: tuple[float, float], reasons: list[str]) -> str:
    low, high = (100 * bound for bound in interval)
    forecast = (
        f"about {100 * gain:.1f} points of accuracy [{low:.1f}, {high:.1f}], to {1 - law.error(twice):.1%}, "
        f"for the same recipe on {twice:,} images like these"
    )
    if reasons:
        return f"Can't say whether more data would help: {'; '.join(reasons)}. (The curve alone would say: {forecast}.)"
    return f"{'More data would help' if low > 0.5 else 'More data would help little'}: {forecast}."
