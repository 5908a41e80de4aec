"""The training samples come in the same order in every epoch; worse where they are sorted by class."""

import numpy as np
from torch.utils.data import IterableDataset, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from truefit.doctor.datasets import all_labels, sampler_of
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import LoaderSeen, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT308",
    "no-shuffle",
    "loop",
    Severity.FAIL,
    "Each epoch draws the training samples in a new random order.",
)
SORTED = -10.0


def check(log: Log) -> Finding:
    loaders = [seen for seen in log.training_loaders() if not isinstance(seen.loader.dataset, IterableDataset)]
    # FIT701 speaks of these.
    loaders = [seen for seen in loaders if not isinstance(sampler_of(seen.loader), DistributedSampler)]
    if not loaders:
        return RULE.not_applicable("no DataLoader over an indexed data set was trained on")
    undecided = False
    for seen in loaders:
        passes = [one for one in log.passes_of(seen) if one.trains]
        orders = [one.order[: len(passes[0].order)] for one in passes if one.order]
        if max((one.batches for one in passes), default=0) < 2:
            undecided = True
            continue
        sequential = type(sampler_of(seen.loader)) is SequentialSampler
        length = min(map(len, orders), default=0)
        repeated = len(orders) >= 2 and length > 8 and all(one[:length] == orders[0][:length] for one in orders[1:])
        if not sequential and not repeated:
            continue
        if "curriculum" in log.declared:
            return RULE.ok("declared curriculum, and verified: the order is the same in each pass.")
        labels = _labels_in_order(seen, passes[0].labels, sequential, passes[0].order, passes[0].ended == "complete")
        z = runs_test(labels) if labels is not None else None
        how = "shuffle is off" if sequential else "the same shuffled order comes in every epoch"
        numbers: dict[str, int | float | str] = {"sampler": type(sampler_of(seen.loader)).__name__}
        if z is not None:
            numbers |= {"runs of equal labels (z)": round(z, 1), "sorted below": SORTED}
        if z is not None and z < SORTED:
            return RULE.fail(
                f"The training samples are sorted by class, and {how}: whole batches hold one class.",
                where=seen.where,
                numbers=numbers,
                fix="DataLoader(training_set, batch_size=..., shuffle=True)",
            )
        return RULE.warn(
            f"The training samples come in the same order in every epoch: {how}.",
            where=seen.where,
            numbers=numbers,
            fix="DataLoader(training_set, batch_size=..., shuffle=True)",
        )
    if undecided:
        return RULE.not_applicable("the training set is one batch")
    return RULE.ok("Each epoch draws the training samples in a new order.")


def _labels_in_order(
    seen: LoaderSeen, seen_labels: list[int], sequential: bool, order: list[int], complete: bool
) -> np.ndarray | None:
    labels = all_labels(seen.loader)
    if labels is not None and sequential:
        return labels
    if labels is not None and order and max(order) < len(labels):
        drawn: np.ndarray = labels[np.asarray(order)]
        return drawn
    return np.asarray(seen_labels) if complete and seen_labels else None


def runs_test(labels: np.ndarray) -> float | None:
    """How many standard deviations the number of runs lies from that of a random order (Wald-Wolfowitz test, for
    several classes: Mood 1940, Ann. Math. Stat. 11). None where there are too few samples or one class."""
    n = len(labels)
    counts = np.unique(labels, return_counts=True)[1].astype(float)
    if n < 40 or len(counts) < 2 or len(counts) > n / 4:
        return None
    squares, cubes = float((counts**2).sum()), float((counts**3).sum())
    runs = 1 + int((labels[1:] != labels[:-1]).sum())
    expected = n + 1 - squares / n
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    return float((runs - expected) / np.sqrt(variance)) if variance > 0 else None
