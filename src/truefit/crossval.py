"""K-fold cross-validation: a run for each fold, and the figures of all held-out predictions together."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from truefit.config import to_plain
from truefit.data.folds import assign, find_groups, fold_of, pool_of
from truefit.data.imageset import Data
from truefit.data.lookup import load_data
from truefit.errors import InputError
from truefit.events import Note
from truefit.fitting.start import refuse_seen, weights_of
from truefit.metrics.folds import METHOD, folds_interval
from truefit.repeating import one_of_many
from truefit.runs.evaluation import Evaluation
from truefit.runs.files import read_json, write_json
from truefit.runs.folds import FILE as PLAN
from truefit.runs.folds import OUT_OF_FOLD
from truefit.runs.leftovers import nothing_left
from truefit.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """evaluation: all held-out predictions, in the order of train then validation; its interval is approximate.
    folds: the evaluation of each fold, of a model that never saw it. out: the folder, or None."""

    evaluation: Evaluation
    folds: tuple[Evaluation, ...]
    out: Path | None

    def table(self) -> list[dict[str, Any]]:
        """A row a fold: fold, n, correct, accuracy, interval (Wilson), loss, weights."""
        return [
            {
                "fold": number,
                "n": one.n,
                "correct": one.correct,
                "accuracy": one.accuracy,
                "interval": list(one.interval),
                "loss": one.loss,
                "weights": one.weights,
            }
            for number, one in enumerate(self.folds, start=1)
        ]


def cross_validate(
    trainer: Trainer,
    data: Data | str | Path,
    *,
    folds: int = 5,
    group_pattern: str | None = None,
    out: str | Path | None = None,
    report: bool = True,
    checkpoint_every: str = "60s",
    requeue: bool = False,
) -> CrossValidation:
    """Train and evaluate once for each fold of train and validation; the data's own test split is not touched.

    In each fold the held-out samples choose nothing: validation is drawn from the others. Folds are stratified by
    class and decided by the data's split seed. Images of one group stay in one fold: those whose file names have the
    same match of `group_pattern`; without one, those that the data puts in one group (a `group` column). The
    trainer's model must be a name, so that each fold begins anew. out: a new folder for a run each (fold-1, fold-2
    ...), the pooled evaluation and folds.json; or one that the same call left unfinished, whose complete folds are
    kept. report, checkpoint_every, requeue: as for `Trainer.fit`, for each fold's run.

    Raises InputError for a number of folds that does not fit, a folder that holds anything else, and weights to start
    from that were trained on this very data: they have seen what is held out.
    """
    if not isinstance(data, Data):
        data = load_data(data)
    if not isinstance(trainer.model, str):
        raise InputError("folds need a model that is built anew for each", fix="name the model, such as convnet")
    trainer.refuse_measured("folds")
    if data.train.multi_label:
        raise InputError("folds need one class an image", found="several labels an image", fix="--seeds 5")
    refuse_seen(trainer.weights_from, data, "folds")
    pool = pool_of(data)
    trainer = copy.copy(trainer)
    # The same batches in all folds, though one may have a few samples more than another.
    trainer.recipe = trainer.recipe.for_samples(len(fold_of(data, 1, folds, group_pattern).train))
    groups = find_groups(pool, group_pattern)
    number = assign(pool.labels, folds, split_seed=data.options.get("split_seed", 0), groups=groups)
    plan = {
        "folds": folds,
        "group_pattern": group_pattern,
        "samples": len(pool),
        "fingerprint": pool.fingerprint(),
        "model": trainer.model,
        "recipe": to_plain(trainer.recipe),
        "seed": trainer.seed,
        "calibrate": trainer.calibrate,
        "from": None if trainer.weights_from is None else weights_of(trainer.weights_from).about["digest"],
        "weights": None if trainer.weights is None else trainer.weights.digest,
        "options": to_plain(data.options),
    }
    place = None if out is None else Path(out).resolve()
    with nothing_left(place, (PLAN,)):
        if place is not None:
            claim(place, plan)
        found = []
        for fold in range(1, folds + 1):
            here = None if place is None else place / f"fold-{fold}"
            if here is not None and (here / "evaluation.json").is_file():
                trainer.notify(Note(text=f"fold {fold} of {folds}: complete already"))
                found.append(Evaluation.load(here))
                continue
            part = fold_of(data, fold, folds, group_pattern)
            trainer.notify(Note(text=part.notes[0]))
            # Not only where there is a config: a process may have been killed while it wrote that.
            with one_of_many(f"fold {fold}", None if out is None else Path(out)):
                run = trainer.fit(
                    part,
                    out=here,
                    report=report,
                    resume=here is not None,
                    checkpoint_every=checkpoint_every,
                    requeue=requeue,
                )
            assert run.evaluation is not None
            found.append(run.evaluation)
    result = CrossValidation(
        evaluation=replace(pooled(found, number), fingerprint=pool.fingerprint()), folds=tuple(found), out=place
    )
    if place is not None:
        result.evaluation.save(place)
        write_json(place / PLAN, {"plan": plan, "table": result.table(), "pooled": result.evaluation.to_json()})
    return result


def pooled(folds: list[Evaluation], number: np.ndarray) -> Evaluation:
    """The evaluations of folds as one, in the order of the samples: number is the fold of each, from 0."""
    order = np.argsort(np.concatenate([np.flatnonzero(number == fold) for fold in range(len(folds))]))
    probabilities = np.concatenate([one.probabilities for one in folds])[order]
    label = np.concatenate([one.label for one in folds])[order]
    predicted = np.concatenate([one.predicted for one in folds])[order]
    paths = [path for one in folds for path in one.paths or ()]
    correct, n = [one.correct for one in folds], [one.n for one in folds]
    return replace(
        folds[0],
        split=OUT_OF_FOLD,
        selected_on=None,
        weights=f"{len(folds)} models, one a fold",
        looks=1,
        correct=sum(correct),
        loss=sum(one.loss * one.n for one in folds) / sum(n),
        index=np.arange(len(label)),
        label=label,
        predicted=predicted,
        probabilities=probabilities,
        paths=tuple(paths[row] for row in order) if paths else None,
        temperature=1.0,
        uncalibrated=None,
        interval_method=METHOD,
        interval_stated=folds_interval(correct, n),
    )


def claim(place: Path, plan: dict[str, Any]) -> None:
    """Make the folder, or find that it is one that the same plan began."""
    if (place / PLAN).is_file():
        before = read_json(place / PLAN)["plan"]
        different = sorted(name for name in plan if before.get(name) != plan[name])
        if different:
            raise InputError(
                "the folder holds other folds",
                where=place,
                found=f"another {', '.join(different)}",
                fix="name another --out"
                + ("" if any(place.glob("fold-*/evaluation.json")) else ", or remove this folder: no fold is complete"),
            )
        return
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError("the output folder is not empty", where=place, fix="name another --out")
    try:
        write_json(place / PLAN, {"plan": plan})
    except OSError as error:
        raise InputError("the output folder can't be written", where=place, found=error) from None
