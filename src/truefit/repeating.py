"""One recipe trained with several seeds on the same splits: what is done is kept, what is missing is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

from truefit.errors import InputError, Interrupted, shorten
from truefit.events import Note, Observer
from truefit.fitting import keeping
from truefit.fitting.fit import Fit
from truefit.fitting.folder import FolderUse, fit_into
from truefit.runs.evaluation import Evaluation
from truefit.runs.folder import RunFolder
from truefit.runs.leftovers import nothing_left
from truefit.runs.seeds import FILE, SeedRuns, folder_of

PLOT = "seeds.svg"
# What may stand beside the seeds: their figures, and what truefit report wrote.
BESIDE = (FILE, PLOT, "report.html", "plots")
# What may differ between the seeds of one recipe: where and with what they ran stands in each run's config.json.
FREE = {"seed", "commit", "hardware", "versions"}


def repeat(
    prepare: Callable[[int], Fit],
    seeds: Sequence[int],
    *,
    out: Path | None,
    use: FolderUse,
    notify: Observer,
) -> SeedRuns:
    """Train with each seed, and collect the evaluations.

    prepare: makes the training of a seed. out: a folder that is new, empty, or holds seeds of the very same
    settings: those that are complete are not trained again, one that broke off is gone on with. seeds.json covers every
    complete seed in `out`, also those not asked for now: none is left out for its figure. use: of each seed's folder;
    with `overwrite` all seeds that are asked for are trained again, else those that broke off are gone on with.

    Raises InputError: no seeds, one of them twice; a folder with other things in it, or with seeds of other settings.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError("these are no seeds", found=list(seeds), wanted="whole numbers from 0, each once")
    kept = _check(prepare, seeds, out, overwrite=use.overwrite) if out is not None else {}
    with nothing_left(out):
        return _train(prepare, seeds, kept, out=out, use=use, notify=notify)


def _train(
    prepare: Callable[[int], Fit],
    seeds: Sequence[int],
    kept: dict[int, Evaluation],
    *,
    out: Path | None,
    use: FolderUse,
    notify: Observer,
) -> SeedRuns:
    """Train what is not kept. seeds.json is written after each."""
    evaluations = dict(kept)
    for number, seed in enumerate(seeds, start=1):
        if seed in kept:
            notify(Note(text=f"seed {seed}: complete already, kept"))
            continue
        notify(Note(text=f"seed {seed} ({number} of {len(seeds)})"))
        fit = prepare(seed)
        if fit.measured_on()[1] is None:
            raise InputError(
                "there is nothing to measure the seeds by",
                found="neither a test nor a validation set",
                wanted="one of them",
            )
        with one_of_many(f"seed {seed}", out, overwrite=use.overwrite):
            run = fit.run() if out is None else fit_into(out / folder_of(seed), fit, use, notify=notify)
        assert run.evaluation is not None
        evaluations[seed] = run.evaluation
        if out is not None:
            # After every seed: what broke off later still says what it has.
            SeedRuns(folder=out, evaluations=dict(sorted(evaluations.items()))).save(out)
    result = SeedRuns(folder=out, evaluations=dict(sorted(evaluations.items())))
    if out is not None:
        result.save(out)
    return result


@contextmanager
def one_of_many(which: str, out: Path | None, *, overwrite: bool = False) -> Iterator[None]:
    """Where one of several trainings is interrupted, say how all of them go on."""
    try:
        yield
    except Interrupted as stop:
        if stop.saved is None:
            raise
        number = stop.exit_code - 128
        how = f"with --out {out}" + " and without --overwrite" * overwrite
        text = f"interrupted by {Signals(number).name}: saved; the same command again, {how}, goes on from {which}"
        raise Interrupted(f"{text}, {stop.saved}", number, saved=f"{which}, {stop.saved}") from None


def _check(prepare: Callable[[int], Fit], seeds: Sequence[int], out: Path, *, overwrite: bool) -> dict[int, Evaluation]:
    """The seeds in `out` that are complete. InputError before anything is written where `out` can't be used."""
    found = {}
    for seed in check_folder(out):
        folder = out / folder_of(seed)
        again = overwrite and seed in seeds
        RunFolder.check_new(folder, overwrite=True)
        if again or not (folder / "config.json").is_file() or not (folder / "config.json").stat().st_size:
            continue
        _check_settings(RunFolder.open(folder).read_config(), prepare(seed).describe(), folder)
        if (folder / "evaluation.json").is_file():
            found[seed] = Evaluation.load(folder)
    return found


def check_folder(out: Path) -> list[int]:
    """The seeds that were begun in a folder. InputError where it holds anything else, or can't be written."""
    if not out.exists():
        RunFolder.check_new(out)
        return []
    content = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name]
    present = sorted(int(name.removeprefix("seed-")) for name in content if re.fullmatch(r"seed-\d+", name))
    foreign = [name for name in content if name not in BESIDE and not re.fullmatch(r"seed-\d+", name)]
    if foreign:
        raise InputError(
            "the output folder holds something else than seeds",
            where=out,
            found=shorten(foreign, 5),
            wanted="a new or empty folder, or one that train --seeds wrote",
            fix="name another --out",
        )
    return present


def _check_settings(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    changed = differences(before, now)
    if changed:
        raise InputError(
            "this seed was trained with other settings",
            where=folder,
            found=shorten(changed, 10),
            wanted="the same settings for all seeds of a folder",
            fix="name another --out, or say --overwrite to train these seeds again",
        )


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two configs, such as `recipe.epochs: 3 before, 5 now`, but for what may differ."""
    found = keeping.differences(before, now, free=FREE, absent=None)
    return [f"{name}: {was!r} before, {new!r} now" for name, (was, new) in sorted(found.items())]
