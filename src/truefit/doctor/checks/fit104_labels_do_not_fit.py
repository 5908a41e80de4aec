"""Labels counted from 1, or far fewer classes than outputs."""

import numpy as np

from truefit.doctor.datasets import all_labels
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Loss
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT104",
    "labels-do-not-fit",
    "loss",
    Severity.FAIL,
    "With K outputs the labels are 0 to K - 1, and each of them occurs.",
)


# Labels seen for each output, from which on none is missing by chance.
PER_CLASS = 40


def check(log: Log) -> Finding:
    calls = [loss for loss in log.all(Loss) if loss.name in ("cross_entropy", "nll_loss") and loss.grad]
    calls = [loss for loss in calls if len(loss.shape) == 2 and len(loss.target_shape) == 1]
    if not calls:
        return RULE.not_applicable("no loss with class indices was called")
    classes = calls[-1].shape[1]
    for seen in log.training_loaders():
        labels = all_labels(seen.loader)
        if labels is None:
            whole = [one for one in log.passes_of(seen) if one.trains and one.ended == "complete" and one.labels]
            if not whole:
                continue
            labels = np.asarray(whole[0].labels)
        present = np.unique(labels[labels >= 0])
        if len(present) == 0:
            continue
        numbers: dict[str, int | str] = {
            "outputs": classes,
            "lowest label": int(present[0]),
            "highest label": int(present[-1]),
            "classes that occur": len(present),
        }
        # All of 1..K-1 and never 0: counted from 1, with an output added to make room.
        if classes > 2 and present[0] == 1 and len(present) == classes - 1 and present[-1] == classes - 1:
            return RULE.fail(
                "Labels are counted from 1: the network's first output is never right, and its figure is for "
                f"{classes} classes where there are {classes - 1}.",
                where=calls[0].where,
                numbers=numbers | {"wanted": "labels from 0"},
                fix=f"labels = labels - 1, and {classes - 1} outputs",
            )
        if len(present) * 2 <= classes:
            return RULE.warn(
                f"The network has {classes} outputs, and only {len(present)} classes occur in training.",
                where=calls[0].where,
                numbers=numbers | {"warned from": "half of the outputs unused"},
                fix=f"give the last layer {int(present[-1]) + 1} outputs",
            )
        return RULE.ok("Labels and outputs match.", numbers=numbers)
    found = _seen_targets(calls)
    return found if found is not None else RULE.not_run("the training labels were not seen as a whole")


def _seen_targets(calls: list[Loss]) -> Finding | None:
    """Without labels to read, those that the loss was given: enough of them to miss none by chance."""
    classes = calls[-1].shape[1]
    values = [one.labels for one in calls if one.labels is not None and one.shape[1] == classes]
    total = sum(sum(one.values()) for one in values)
    present = sorted({label for one in values for label in one if label >= 0})
    if total < PER_CLASS * classes or not present:
        return None
    numbers: dict[str, int | str] = {"outputs": classes, "lowest label": present[0], "highest label": present[-1]}
    if classes > 2 and present == list(range(1, classes)):
        return RULE.fail(
            "Labels are counted from 1: the network's first output is never right, and its figure is for "
            f"{classes} classes where there are {classes - 1}.",
            where=calls[0].where,
            numbers=numbers | {"labels seen": total, "wanted": "labels from 0"},
            fix=f"labels = labels - 1, and {classes - 1} outputs",
        )
    return RULE.ok("Labels and outputs match.", numbers=numbers)
