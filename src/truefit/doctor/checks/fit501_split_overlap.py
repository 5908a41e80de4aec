"""Samples that are both trained on and evaluated on."""

import numpy as np

from truefit.doctor.datasets import base_and_indices, identity, same_samples
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import LoaderSeen, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT501",
    "split-overlap",
    "data",
    Severity.FAIL,
    "No sample that is evaluated on was trained on.",
)


def check(log: Log) -> Finding:
    training, evaluation = log.training_loaders(), log.evaluation_loaders()
    if not training or not evaluation:
        return RULE.not_applicable("no DataLoader for training beside one for evaluation")
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
