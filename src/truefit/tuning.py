"""A search for better settings: trials on validation, each stored, and in the end one comparison with the default."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from truefit import rng
from truefit.comparison.compare import Comparison, compare
from truefit.config import require, to_plain
from truefit.data.imageset import Data
from truefit.errors import InputError
from truefit.events import EpochFinished, Event, Note, Observer, nobody
from truefit.extras import needs
from truefit.recipes.recipe import Recipe
from truefit.report.build import write_report
from truefit.report.figure import draw
from truefit.report.search import chart, read_search, shown
from truefit.runs.files import write_json
from truefit.runs.ledger import LEDGER, Ledger
from truefit.runs.leftovers import Before
from truefit.runs.lock import Lock
from truefit.trainer import Trainer

STUDY = "study.db"
BATCH_SIZES = (16, 32, 64, 128, 256)
# Trials before the sampler and the pruner begin to use what they saw.
FIRST = 5


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search found. settings: of the best trial. trials: what each gave. improved: whether the best trial is
    another than the default. comparison: the default (A) and the best (B), both trained anew; None where they are one.
    """

    settings: dict[str, Any]
    trials: tuple[dict[str, Any], ...]
    improved: bool
    comparison: Comparison | None

    def __str__(self) -> str:
        if self.comparison is None:
            return "no trial was better than the default on validation"
        return f"default (A) and best trial (B): {self.comparison.verdict}"


def tune(trainer: Trainer, data: Data, *, out: str | Path, trials: int = 20, observe: Observer = nobody) -> Tuned:
    """Search learning rate, weight decay, batch size and label smoothing, then compare the best with the default.

    The first trial is the trainer's own recipe. Trials are chosen by optuna's TPE sampler by accuracy on validation (of
    a trial's best epoch), and ended early where they are below the median of those before. Test is not touched by them;
    OUT/ledger.jsonl counts the looks at validation. In the end the default and the best are trained once more, into
    OUT/default and OUT/best, and measured on test (without one on validation, which chose).

    out: a new folder, or one of an earlier call with the same settings, which goes on where it ended, however it ended:
    trials stand in OUT/study.db (SQLite). trials: how many in all.

    Raises InputError without a validation split, for a network that can't be built anew, with max_time or
    auto_batch_size, where OUT belongs to another search, and where optuna is missing. Where a search fails before any
    trial is done, a new OUT is removed again.
    """
    optuna = needs("tune", "optuna")
    require(trials >= 2, "trials", trials, "at least 2")
    trainer.refuse_measured("a search")
    if data.validation is None:
        raise InputError("a search needs a validation split", fix="hold out a part of train: --val-fraction 0.1")
    if not isinstance(trainer.model, str):
        raise InputError("a search needs a model that is built anew", fix="name the model, such as convnet")
    optimizer = trainer.recipe.optimizer
    trainer = copy.copy(trainer)
    recipe = replace(trainer.recipe, optimizer=replace(optimizer, lr=optimizer.peak_lr))
    trainer.recipe = recipe.for_samples(len(data.train))
    place = Path(out).resolve()
    if place.exists() and (not place.is_dir() or (any(place.iterdir()) and not (place / STUDY).is_file())):
        raise InputError("the output folder holds something else than a search", where=place, fix="name another --out")
    before = Before(place)
    place.mkdir(parents=True, exist_ok=True)
    lock = Lock(place)
    # It warns of a trial that failed or was interrupted, with a traceback; the exception itself says it.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: Any = None
    study: Any = None
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{place / STUDY}")
        study = _study(optuna, storage, place, trainer, data)
        _search(optuna, study, trainer, data, place, trials, observe)
        return _finish(study, trainer, data, place, observe)
    except Exception:
        if study is None or not _finished(optuna, study):
            if storage is not None:
                # Some systems can't remove a file that is open.
                storage.remove_session()
                storage.engine.dispose()
            lock.release()
            before.restore((STUDY, f"{STUDY}-journal", LEDGER))
        raise
    finally:
        lock.release()


def _study(optuna: Any, storage: Any, place: Path, trainer: Trainer, data: Data) -> Any:
    """The study of OUT: a new one, or the one that was broken off."""
    study = optuna.create_study(
        storage=storage,
        study_name="truefit",
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST, n_warmup_steps=1),
    )
    assert data.validation is not None
    about = {
        "model": trainer.model,
        "recipe": to_plain(trainer.recipe),
        "seed": trainer.seed,
        "validation": data.validation.fingerprint(),
    }
    before = study.user_attrs.get("about")
    if before is not None and before != about:
        changed = [name for name in about if before[name] != about[name]]
        raise InputError(
            "the search in this folder has other settings",
            where=place,
            found=f"another {', '.join(changed)}",
            fix="name another --out"
            + ("" if _finished(optuna, study) else ", or remove this folder: no trial in it is complete"),
        )
    if before is None:
        study.set_user_attr("about", about)
        study.enqueue_trial(_settings(trainer.recipe))
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        # Its process is dead, for we hold the lock; what it tried is tried again.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params or _settings(trainer.recipe))
    usable = (*_done(optuna), optuna.trial.TrialState.WAITING)
    asked = [one.system_attrs.get("fixed_params", one.params) for one in study.get_trials(states=usable)]
    if _settings(trainer.recipe) not in asked:
        # Its trial was interrupted, or failed.
        study.enqueue_trial(_settings(trainer.recipe))
    return study


def _done(optuna: Any) -> tuple[Any, ...]:
    return optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED


def _finished(optuna: Any, study: Any) -> list[Any]:
    found: list[Any] = study.get_trials(deepcopy=False, states=_done(optuna))
    return found


def _search(optuna: Any, study: Any, trainer: Trainer, data: Data, place: Path, trials: int, observe: Observer) -> None:
    assert data.validation is not None
    ledger = Ledger(place / LEDGER)
    searched = replace(data, test=None)

    def objective(trial: Any) -> float:
        epochs: list[float] = []

        def watch(event: Event) -> None:
            if isinstance(event, EpochFinished):
                epochs.append(event.record["validation_accuracy"])
                trial.report(max(epochs), len(epochs))
                if trial.should_prune() and event.epoch + 1 < event.epochs:
                    raise optuna.TrialPruned

        one = _with(trainer, _suggested(trial, trainer.recipe), watch)
        try:
            one.fit(searched)
        finally:
            ledger.look(
                "validation",
                by=f"tune: trial {trial.number}",
                times=len(epochs),
                chose=("settings",),
                n=len(data.validation or ()),
                fingerprint=data.validation.fingerprint() if data.validation is not None else None,
            )
        return max(epochs)

    while (done := len(_finished(optuna, study))) < trials:
        # Seeded for each: begun anew, a search that is gone on with would try once more what it began with.
        seed = rng.key(trainer.seed, "tune", len(study.get_trials(deepcopy=False))) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST)
        study.optimize(objective, n_trials=1)
        last = study.get_trials(deepcopy=False)[-1]
        result = f"{last.value:.1%}" if last.value is not None else last.state.name.lower()
        observe(Note(text=f"trial {done + 1} of {trials}: {result}  {_shown(last.params)}"))


def _finish(study: Any, trainer: Trainer, data: Data, place: Path, observe: Observer) -> Tuned:
    """The default and the best once more, on everything, and what they are worth."""
    settings, default = study.best_trial.params, _settings(trainer.recipe)
    rows = tuple(
        {"number": trial.number, "state": trial.state.name.lower(), "accuracy": trial.value, **trial.params}
        for trial in study.get_trials(deepcopy=False)
    )
    improved = settings != default
    comparison = None
    _with(trainer, trainer.recipe, observe).fit(data, out=place / "default", resume=True)
    if improved:
        if study.user_attrs.get("best") != settings:
            # More trials have found a better one than that of an earlier call.
            shutil.rmtree(place / "best", ignore_errors=True)
            study.set_user_attr("best", settings)
        _with(trainer, _applied(trainer.recipe, settings), observe).fit(data, out=place / "best", resume=True)
        comparison = compare(place / "default", place / "best")
    tuned = Tuned(settings=settings, trials=rows, improved=improved, comparison=comparison)
    write_json(
        place / "tune.json",
        {
            "settings": settings,
            "default": default,
            "selected_on": "validation",
            "trials": list(rows),
            "comparison": None if comparison is None else comparison.to_json(),
            "sentence": str(tuned),
        },
    )
    draw(chart(read_search(place))).savefig(place / "tune.svg", metadata={"Date": None})
    write_report([place])
    return tuned


def _with(trainer: Trainer, recipe: Recipe, observe: Observer) -> Trainer:
    one = copy.copy(trainer)
    one.recipe, one.observers = recipe, [observe]
    return one


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's own values of what is searched."""
    return {
        "lr": recipe.optimizer.lr,
        "weight_decay": recipe.optimizer.weight_decay,
        "batch_size": recipe.batch_size,
        "label_smoothing": recipe.loss.label_smoothing,
    }


def _suggested(trial: Any, recipe: Recipe) -> Recipe:
    lr, decay = recipe.optimizer.peak_lr, recipe.optimizer.weight_decay
    sizes = sorted({*BATCH_SIZES, recipe.batch_size})
    trial.suggest_float("lr", lr / 30, lr * 30, log=True)
    trial.suggest_float("weight_decay", 0.0, max(0.2, decay))
    trial.suggest_categorical("batch_size", sizes)
    trial.suggest_float("label_smoothing", 0.0, max(0.2, recipe.loss.label_smoothing))
    return _applied(recipe, trial.params)


def _applied(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    return replace(
        recipe,
        batch_size=settings["batch_size"],
        optimizer=replace(recipe.optimizer, lr=settings["lr"], weight_decay=settings["weight_decay"]),
        loss=replace(recipe.loss, label_smoothing=settings["label_smoothing"]),
    )


def _shown(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in settings.items())
