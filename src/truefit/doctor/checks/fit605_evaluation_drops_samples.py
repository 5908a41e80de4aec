"""drop_last on an evaluation's loader: the last samples are never measured."""

from truefit.doctor.datasets import sampler_of, validation_loaders
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT605",
    "evaluation-drops-samples",
    "evaluation",
    Severity.FAIL,
    "Every sample of the evaluation is measured, once.",
)


def check(log: Log) -> Finding:
    loaders = validation_loaders(log)
    if not loaders:
        return RULE.not_applicable("no DataLoader that only evaluates")
    for seen in loaders:
        # A DataLoader that was given a batch sampler has no size of its own, and drops nothing itself.
        given = getattr(seen.loader, "batch_size", None) is None
        batches = getattr(seen.loader, "batch_sampler", None) if given else seen.loader
        size = getattr(batches, "batch_size", None)
        try:
            samples = len(sampler_of(seen.loader))
        except (TypeError, AttributeError):
            continue
        if getattr(batches, "drop_last", False) and size and samples % size:
            return RULE.fail(
                f"drop_last is on for an evaluation: {samples % size} of {samples} samples are never measured.",
                where=seen.where,
                numbers={"samples": samples, "dropped": samples % size, "wanted": 0},
                fix="DataLoader(validation_set, batch_size=..., drop_last=False)",
            )
    return RULE.ok("Every sample of the evaluation is measured.")
