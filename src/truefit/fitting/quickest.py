"""Which settings train quickest here? Tried out for a moment before the first step, with `--no-deterministic`.

Asked are the number of threads (on a CPU) and, where the recipe leaves it open with `precision: fastest`, the precision
of training. What wins stands in config.json like any setting, so that going on after a kill measures nothing. It is
remembered for this machine, model, size of images, batch and versions, so that the next run measures nothing either;
unless others were at work meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truefit import dist, rng
from truefit.config import from_plain, to_plain
from truefit.data.collate import count_samples
from truefit.errors import InputError, StorageError, warn
from truefit.events import Note
from truefit.fitting.others import Others
from truefit.fitting.timing import trial
from truefit.measure import image_size_of
from truefit.precision import Resolved, Settings, fastest_float32, has_bfloat16, threads
from truefit.provenance import provenance
from truefit.runs.files import read_json, write_json

if TYPE_CHECKING:
    from truefit.fitting.setup import Setup

# Others must take less than this part of the time of the settings that fixed rules give: clocks are noisy.
CLEARLY = 0.9
# A trial is meant to take about half a second (`timing.trial` takes a part of what it is given).
TRIAL_OF = 25.0
# Each is tried once more where all of them together took no more seconds than this; the quicker time counts.
AGAIN_WITHIN = 20.0
# Threads are tried by halves, until so many times the best time is taken: with still fewer it would be longer.
FAR_FROM = 1.2
# What is measured while others take more of the cores than this part is not remembered.
BUSY = 0.15


def choose_settings(setup: Setup) -> Settings:
    """The settings of a training, which are those of the fixed rules unless measured ones are asked for.

    Measured ones become those of the setup. Nothing is measured where a run is gone on with, where no step is taken,
    for several processes, and for a training set without a length.
    """
    plan = setup.plan
    if plan.deterministic or plan.settings is not None or setup.recipe.epochs == 0:
        return setup.settings
    if dist.world() > 1 or count_samples(setup.training_set, "training set") is None:
        plan.notify(
            Note(text="settings by fixed rules: only one process, with a training set of known length, tries them out")
        )
        return setup.settings
    folder = settings_folder()
    asked = _asked(setup)
    path = None if folder is None else folder / f"{_digest(asked)}.json"
    known = None if path is None else _read(path, setup.settings)
    if known is not None:
        setup.settings = known
        plan.notify(Note(text=f"settings as measured here before: {_words(known)}"))
        return known
    others = Others()
    seconds = measure(setup)
    setup.settings = chosen = quickest(seconds)
    busy = others.share()
    tried = "; ".join(f"{_words(settings)}: {1000 * taken:.1f}" for settings, taken in seconds.items())
    plan.notify(Note(text=f"settings measured: {_words(chosen)} (milliseconds a step with {tried})"))
    if busy > BUSY:
        text = f"other work took {busy:.0%} of the cores meanwhile: these settings are not kept for the next run"
        plan.notify(Note(text=text))
    elif path is not None:
        _write(path, asked, chosen, seconds)
    return chosen


def settings_folder() -> Path | None:
    """Where measured settings lie: $TRUEFIT_CACHE/settings, else ~/.cache/truefit/settings; None if `off`."""
    chosen = os.environ.get("TRUEFIT_CACHE") or "~/.cache/truefit"
    return None if chosen == "off" else Path(chosen).expanduser().absolute() / "settings"


def measure(setup: Setup) -> dict[Settings, float]:
    """Seconds of a step with each of the settings that were tried, those of the fixed rules first."""
    rule = setup.settings

    def seconds_of(settings: Settings) -> float:
        setup.settings = settings
        with threads(settings.threads):
            return trial(setup, TRIAL_OF, 1.0)

    begun = time.perf_counter()
    try:
        with rng.preserved(setup.device):
            seconds = {settings: seconds_of(settings) for settings in _precisions(setup)}
            best = quickest(seconds)
            for count in _fewer_threads(best):
                fewer = replace(best, threads=count)
                seconds[fewer] = seconds_of(fewer)
                if seconds[fewer] > FAR_FROM * min(seconds.values()):
                    break
            if time.perf_counter() - begun < AGAIN_WITHIN:
                seconds = {settings: min(before, seconds_of(settings)) for settings, before in seconds.items()}
    finally:
        setup.settings = rule
    return seconds


def quickest(seconds: dict[Settings, float]) -> Settings:
    """The settings with the least seconds a step; the first ones unless others are clearly quicker."""
    usual, best = next(iter(seconds)), min(seconds, key=seconds.__getitem__)
    return best if seconds[best] < CLEARLY * seconds[usual] else usual


def _precisions(setup: Setup) -> list[Settings]:
    """What the rules say, and where the recipe leaves it open whatever else the device may be quicker in."""
    rule = setup.settings
    if setup.recipe.precision != "fastest" or not setup.is_named:
        return [rule]
    others: list[Resolved] = ["float32", fastest_float32(setup.device)]
    if has_bfloat16(setup.device):
        others.append("bfloat16")
    names = dict.fromkeys([rule.training_precision, *others])
    return [replace(rule, training_precision=name) for name in names]


def _fewer_threads(settings: Settings) -> list[int]:
    """A half, a quarter and so on of the threads, down to one; none on a device that computes by itself."""
    halves = [settings.threads >> times for times in range(1, settings.threads.bit_length())]
    return halves if settings.device == "cpu" else []


def _words(settings: Settings) -> str:
    """Such as "2 threads, bfloat16"."""
    return f"{settings.threads} thread{'s' * (settings.threads != 1)}, {settings.training_precision}"


def _asked(setup: Setup) -> dict[str, Any]:
    """All that decides which settings are quickest."""
    shapes = [list(parameter.shape) for parameter in setup.network.parameters()]
    made = provenance(setup.device)
    return {
        "network": f"{type(setup.network).__module__}.{type(setup.network).__qualname__}",
        "parameters": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16],
        "image_size": list(image_size_of(setup.training_set)),
        "recipe": {
            "batch_size": setup.recipe.batch_size,
            "accumulate": setup.recipe.accumulate,
            "optimizer": setup.recipe.optimizer.name,
            "precision": setup.recipe.precision,
            "augment": to_plain(setup.recipe.augment),
        },
        "rule": to_plain(setup.settings),
        "versions": made["versions"],
        "hardware": made["hardware"],
    }


def _digest(asked: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path, rule: Settings) -> Settings | None:
    """What was measured before; None where nothing was, or it can't be read."""
    with suppress(InputError, KeyError):
        chosen = read_json(path)["chosen"]
        return from_plain(Settings, chosen, where=str(path), base=rule)
    return None


def _write(path: Path, asked: dict[str, Any], chosen: Settings, seconds: dict[Settings, float]) -> None:
    tried = [
        {"threads": settings.threads, "training_precision": settings.training_precision, "seconds_a_step": taken}
        for settings, taken in seconds.items()
    ]
    choice = {"threads": chosen.threads, "training_precision": chosen.training_precision}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"asked": asked, "tried": tried, "chosen": choice})
    except (OSError, StorageError) as error:
        warn(f"measured settings can't be kept for the next run ({path.parent}: {error})")
