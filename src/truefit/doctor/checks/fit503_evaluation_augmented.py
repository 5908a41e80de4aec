"""The evaluation draws random transforms: the same sample is another image each time."""

import itertools
from typing import Any

from truefit.doctor.datasets import base_and_indices, validation_loaders
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import LoaderSeen, Log
from truefit.doctor.rule import Rule
from truefit.doctor.samples import differ

RULE = Rule(
    "FIT503",
    "evaluation-augmented",
    "data",
    Severity.FAIL,
    "A sample of the evaluation is the same image each time it is fetched.",
)
SAMPLES = 3


def check(log: Log) -> Finding:
    loaders = validation_loaders(log)
    if not loaders:
        return RULE.not_applicable("no DataLoader that only evaluates")
    if "test-time-augmentation" in log.declared:
        return RULE.not_applicable("declared: test-time-augmentation")
    looked = 0
    for seen in loaders:
        changed = _between_passes(log, seen) or _changed(seen)
        if changed is None:
            continue
        looked += 1
        if changed[0] > 0:
            return RULE.fail(
                "The evaluation's images are augmented at random: its figure changes from call to call, and is not "
                "about the images themselves.",
                where=seen.where,
                numbers={"samples that came out different": changed[0], "of": changed[1], "wanted": 0},
                fix="give the evaluation a transform of its own; a Subset shares that of the data set under it",
            )
    return RULE.ok("The evaluation's images are fixed.") if looked else RULE.not_run("no sample could be fetched again")


def _between_passes(log: Log, seen: LoaderSeen) -> tuple[int, int] | None:
    """How many of the first samples differ between two passes that asked for the same ones."""
    passes = [one for one in log.passes_of(seen) if one.first is not None]
    for one, two in itertools.pairwise(passes):
        count = len(one.first)
        same = len(one.order) >= count and one.order[:count] == two.order[:count]
        if same and one.first.shape == two.first.shape:
            # NaN is not equal to itself, and no sign of a random transform.
            other = (one.first != two.first) & ~((one.first != one.first) & (two.first != two.first))
            return int(other.reshape(count, -1).any(dim=1).sum()), count
    return None


def _changed(seen: LoaderSeen) -> tuple[int, int] | None:
    """How many of a few samples differ between two seeds, and not between two fetches with one seed."""
    dataset: Any = getattr(seen.loader, "dataset", None)
    if base_and_indices(seen.loader) is None or len(dataset) == 0:
        return None
    indices = sorted({0, len(dataset) // 2, len(dataset) - 1})[:SAMPLES]
    changed = differ(dataset, indices)
    return None if changed is None else (changed, len(indices))
