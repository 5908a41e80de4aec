"""Samples that are both trained on and evaluated on."""

import numpy as np

from truefit.doctor.contents import contents
from truefit.doctor.datasets import base_and_indices, identity, same_samples
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Initialised, Loaded, LoaderSeen, Log, Pass
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT501",
    "split-overlap",
    "data",
    Severity.FAIL,
    "No sample that is evaluated on was trained on.",
)
# Exact copies: data sets as they are published have a few. Least number, and shares that warn and fail.
LEAST, WARNED, FAILED = 5, 0.01, 0.05
# Of an evaluation's samples that the same model was trained on before, and of those in its last training.
BEFORE, NOW = 0.5, 0.05


def check(log: Log) -> Finding:
    training, evaluation = log.training_loaders(), log.evaluation_loaders()
    if not training or not evaluation:
        return RULE.not_applicable("no DataLoader for training beside one for evaluation")
    earlier = _trained_before(log)
    if earlier is not None:
        return earlier
    distinct = [seen for n, seen in enumerate(training) if not any(same_samples(seen, one) for one in training[:n])]
    if len(distinct) > 1:
        return RULE.not_applicable("several training sets, as in cross-validation")
    apart: list[tuple[LoaderSeen, int, int]] = []
    inside: list[tuple[LoaderSeen, int, int]] = []
    for seen in evaluation:
        if same_samples(seen, distinct[0]):
            continue
        shared, total = _shared(distinct[0], seen)
        if shared is None:
            continue
        (inside if shared == total else apart).append((seen, shared, total))
        if 0 < shared < total:
            return _fail(seen, distinct[0], shared, total)
        if (found := _copies(seen, distinct[0])) is not None:
            return found
    clean = [one for one in apart if one[1] == 0]
    # Part of the training set may be measured too, but not instead of anything else.
    if inside and not clean:
        return _fail(inside[0][0], distinct[0], inside[0][1], inside[0][2])
    if not apart and not inside:
        return RULE.not_run("which samples the loaders draw could not be compared")
    return RULE.ok("Training and evaluation share no sample.", numbers={"sets compared": len(apart) + len(inside)})


def _shared(training: LoaderSeen, evaluation: LoaderSeen) -> tuple[int | None, int]:
    one, two = base_and_indices(training.loader), base_and_indices(evaluation.loader)
    if one is None or two is None:
        return None, 0
    if identity(one[0]) != identity(two[0]):
        return 0, len(two[1])
    return int(np.isin(two[1], one[1]).sum()), len(two[1])


def _fail(seen: LoaderSeen, training: LoaderSeen, shared: int, total: int) -> Finding:
    return RULE.fail(
        f"{shared} of {total} samples of the evaluation are trained on too: its figure is too good.",
        where=seen.where,
        numbers={"samples in both": shared, "of": total, "wanted": 0, "training loader at": str(training.where)},
        fix="train on the subset, not on the whole: DataLoader(train_subset, ...), made by one random_split",
    )


def _copies(seen: LoaderSeen, training: LoaderSeen) -> Finding | None:
    """Images of the evaluation that stand in the training set too, at other indices."""
    one, two = contents(training.loader), contents(seen.loader)
    if one is None or two is None or len(two) == 0:
        return None
    count = int((np.isin(two, one) & (two != 0)).sum())
    share = count / len(two)
    if count < LEAST or share < WARNED:
        return None
    say = RULE.fail if share >= FAILED else RULE.warn
    return say(
        f"{count} of {len(two)} images of the evaluation are exact copies of training images: its figure is too good.",
        where=seen.where,
        numbers={"copies": count, "of": len(two), "warned from": f"{WARNED:.0%}", "fails from": f"{FAILED:.0%}"},
        fix="split first; then oversample, copy or augment the training part alone",
    )


def _trained_before(log: Log) -> Finding | None:
    """A model that is measured on samples of an earlier training of its own, as when folds share one network."""
    trained = log.trained_forwards()
    wanted = {seen.key for seen in log.trained_models()}
    by_pass: dict[int, set[tuple[int, bool]]] = {}
    for call in log.all(Forward):
        if call.loader_pass is not None and call.model in wanted:
            by_pass.setdefault(call.loader_pass, set()).add((call.model, call.at in trained))
    known: dict[int, np.ndarray | None] = {}

    def samples(one: Pass) -> np.ndarray | None:
        if one.loader not in known:
            known[one.loader] = contents(log.loaders[one.loader].loader)
        return known[one.loader]

    for model in wanted:
        training = [one for one in log.passes if one.trains and (model, True) in by_pass.get(one.number, ())]
        if len({one.loader for one in training}) < 2:
            continue
        for one in log.passes:
            if not one.evaluates or (model, False) not in by_pass.get(one.number, ()):
                continue
            fresh = _last_reset(log, model, one.begin)
            before = [other for other in training if fresh < other.begin < one.begin]
            if len({other.loader for other in before}) < 2:
                continue
            mine, last = samples(one), samples(before[-1])
            rest = [found for other in before[:-1] if (found := samples(other)) is not None]
            if mine is None or last is None or not rest or np.isin(mine, last[last != 0]).mean() > NOW:
                continue
            shared = int((np.isin(mine, np.concatenate(rest)) & (mine != 0)).sum())
            if shared >= max(LEAST, BEFORE * len(mine)):
                seen = log.loaders[one.loader]
                return RULE.fail(
                    f"{shared} of {len(mine)} samples of the evaluation were trained on in an earlier training of the "
                    "same model: its figure is too good.",
                    where=seen.where,
                    numbers={"trained on before": shared, "of": len(mine), "wanted": 0},
                    fix="make a new model (and a new optimiser) for each fold",
                )
    return None


def _last_reset(log: Log, model: int, until: int) -> int:
    """When the model's weights were last loaded or drawn anew before this time; 0 where never."""
    loads = [one.at for one in log.all(Loaded) if one.what == "model" and one.target == model and one.at < until]
    drawn = [one.at for one in log.all(Initialised) if one.trained and one.at < until]
    return max([0, *loads, *drawn])
