"""Where a training is kept: its folder, its checkpoints, and whether it is a new one or goes on."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from truefit.checkpoint.interval import Interval
from truefit.checkpoint.saver import Capture, Saver
from truefit.checkpoint.signals import Signals
from truefit.checkpoint.store import Found, Store
from truefit.config import flat, from_plain, to_plain
from truefit.errors import InputError, shorten
from truefit.events import Note, Observer
from truefit.precision import Settings, find_device
from truefit.recipes.recipe import Recipe, ScheduleConfig
from truefit.runs.folder import RunFolder

# Schedules whose rate at a step does not depend on how many epochs there will be.
OPEN_ENDED = ("constant", "step", "reduce-on-plateau")
# What may differ between two starts of one run: it makes no difference to the result, or none on purpose.
_FREE = {
    "versions",
    "commit",
    "hardware",
    "settings.workers",
    "data.notes",
    "max_time",
    "auto_batch_size",
    "deterministic",
}


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """A run folder in use, at `place`. found: the checkpoint to go on from, or None. requeue: on SIGUSR1, by Slurm.

    folder: None in a process that works for another one, which does the writing.
    """

    place: Path
    folder: RunFolder | None
    signals: Signals
    interval: Interval = field(default_factory=Interval)
    found: Found | None = None
    requeue: bool = False

    def saver(self, capture: Capture, notify: Observer) -> Saver:
        """What saves the state of a training in the folder."""
        store = None if self.folder is None else Store(self.folder.checkpoints)
        return Saver(store, self.interval, capture, self.signals, notify=notify, requeue=self.requeue, place=self.place)

    def complete(self, schedule: ScheduleConfig) -> None:
        """The run is finished: its checkpoints go, but for the last of one that can be made longer."""
        if self.folder is not None:
            Store(self.folder.checkpoints).trim(1 if schedule.name in OPEN_ENDED else 0)


def settings_of(folder: RunFolder | None, device: str | None, workers: int) -> Settings | None:
    """The settings of the run that stands in a folder, to be used again; None where there is none to be read.

    Raises InputError where the device, the one that is named or else the run's, is not available.
    """
    try:
        plain = folder.read_config()["settings"] if folder is not None else None
    except (InputError, KeyError):
        return None
    if plain is None:
        return None
    if device is not None:
        find_device(device)
    settings = {**plain, "workers": workers, "device": device or plain.get("device")}
    if device is None and str(settings["device"]).startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            "the run was begun on a GPU, and there is none here",
            where=folder.path if folder is not None else None,
            found=settings["device"],
            fix="go on where there is one, or begin a new run with its weights (--from) elsewhere",
        )
    return from_plain(Settings, settings, where="config.json: settings")


def recorded_length(folder: RunFolder | None, recipe: Recipe, max_time: float | None) -> tuple[Recipe, float | None]:
    """Recipe and max_time; where the run in a folder chose its steps by the clock, with those steps, and its time."""
    config = _recorded(folder)
    if config.get("max_time") is None or recipe.max_steps is not None:
        return recipe, max_time
    recorded = {name: config["recipe"].get(name) for name in ("max_steps", "stop_at_step")}
    return replace(recipe, **recorded), config["max_time"]


def recorded_batch_size(folder: RunFolder | None, recipe: Recipe, auto: bool) -> Recipe:
    """The recipe; where its batch size is chosen by trying out, with that of the run in a folder."""
    config = _recorded(folder) if auto else {}
    return recipe.with_batch_size(config["recipe"]["batch_size"]) if config else recipe


def _recorded(folder: RunFolder | None) -> dict[str, Any]:
    """The config of the run in a folder; empty where there is none, and where it is damaged: `take_up` says so."""
    try:
        config = folder.read_config() if folder is not None else {}
    except InputError:
        return {}
    return config if "batch_size" in (config.get("recipe") or ()) else {}


def take_up(folder: RunFolder, config: dict[str, Any], notify: Observer) -> Found | None:
    """The checkpoint to go on from, in a folder that is to hold the run of this config. None: begin at the start.

    What was begun there and came to no checkpoint is removed. Raises InputError where the folder holds a run of
    other settings, listing them; more epochs are allowed where the schedule permits.
    """
    try:
        begun = folder.read_config()
    except InputError:
        # Killed before there was a config, so before there was anything; but a damaged run is not removed.
        if {path.name for path in folder.path.iterdir()} - {"config.json", "lock.json"}:
            raise
        folder.begin_again()
        return None
    _check_same(begun, config, folder)
    found, damaged = Store(folder.checkpoints).newest()
    for error in damaged:
        notify(Note(text=f"passed over: {' '.join(str(error).split())}"))
    if found is None:
        if folder.is_finished():
            raise InputError(
                "this run is finished and left no checkpoint to go on from",
                where=folder.path,
                fix="--from this run, into another --out, starts a new run from its weights",
            )
        folder.begin_again()
        notify(Note(text=f"no checkpoint in {folder.path}: beginning at the start"))
        return None
    if folder.is_finished():
        folder.reopen(begun["recipe"]["epochs"])
    versions = {name: (begun["versions"].get(name), now) for name, now in config["versions"].items()}
    changed = [f"{name} {before} -> {now}" for name, (before, now) in versions.items() if before != now]
    if changed:
        notify(Note(text=f"other versions than before ({', '.join(changed)}): not bit for bit the same run"))
    threads, usual = config["settings"]["threads"], config["hardware"]["threads"]
    if threads != usual:
        notify(Note(text=f"{threads} threads, as the run began with, not {usual}: the rest is the same bit for bit"))
    before, now = (about["hardware"].get("processes", 1) for about in (begun, config))
    if before != now:
        notify(Note(text=f"{now} processes instead of {before}: not bit for bit the same run"))
    return found


def is_done(folder: RunFolder, config: dict[str, Any]) -> bool:
    """Whether the folder holds the finished run of this very config."""
    try:
        return folder.is_finished() and not differences(folder.read_config(), config)
    except (InputError, KeyError, TypeError):
        return False


def differences(
    before: dict[str, Any], now: dict[str, Any], free: Set[str] = _FREE, absent: Any = "nothing"
) -> dict[str, tuple[Any, Any]]:
    """Settings that are not the same in two configs, by dotted names: (before, now).

    free: what may differ. absent: stands for a setting that one of them lacks.
    """
    old, new = flat(to_plain(before)), flat(to_plain(now))
    names = [name for name in {**old, **new} if not any(name == one or name.startswith(f"{one}.") for one in free)]
    found = {name: (old.get(name, absent), new.get(name, absent)) for name in names}
    return {name: both for name, both in found.items() if both[0] != both[1] and name != "schema"}


def _check_same(begun: dict[str, Any], config: dict[str, Any], folder: RunFolder) -> None:
    different = differences(begun, config)
    before, now = different.get("recipe.epochs", (None, None))
    # Of a damaged config it may be anything.
    if isinstance(before, int):
        laid_out = _laid_out(config["recipe"])
        if now > before and laid_out is None:
            del different["recipe.epochs"]
        elif now > before and len(different) == 1:
            raise InputError(
                f"a run with {laid_out} can't be made longer",
                where=folder.path,
                found=f"{now} epochs instead of {before}",
                wanted=f"the same number; or a schedule among {', '.join(OPEN_ENDED)}, and no part laid out over it",
                fix=f"it was laid out over {before} epochs: --from {folder.path} starts a new run from its weights",
            )
    if different:
        raise InputError(
            "the run in this folder was begun with other settings",
            where=folder.path,
            found=shorten((f"{name}: {before!r} -> {now!r}" for name, (before, now) in different.items()), 30),
            wanted="the same settings, to go on with it",
            fix="name another --out, or --overwrite instead of --resume",
        )


def _laid_out(recipe: dict[str, Any]) -> str | None:
    """What of a recipe depends on the number of epochs, so that a longer training is another one from its start."""
    schedule = recipe["schedule"]["name"]
    depends = {
        f"the schedule {schedule}": schedule not in OPEN_ENDED,
        "schedule.warmup": bool(recipe["schedule"]["warmup"]),
        "augment.start_shrink": recipe["augment"]["start_shrink"] is not None,
        "swa.start": recipe["swa"]["start"] is not None,
        "transfer.probe": recipe["transfer"]["probe"],
    }
    return next((name for name, is_so in depends.items() if is_so), None)
