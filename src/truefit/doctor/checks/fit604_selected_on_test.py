"""The test split is looked at during training, in the place of a validation split."""

from truefit.doctor.datasets import says_test, validation_loaders
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Saved, Scheduled, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT604",
    "selected-on-test",
    "evaluation",
    Severity.WARN,
    "Epochs, rates and weights are chosen on a validation split; the test split is looked at once, at the end.",
)


def check(log: Log) -> Finding:
    loaders = validation_loaders(log)
    steps = list(log.all(Step))
    if not loaders or not steps:
        return RULE.not_applicable("no training with an evaluation beside it")
    during = {
        seen.key: [one for one in log.passes_of(seen) if steps[0].at < one.begin < steps[-1].at] for seen in loaders
    }
    beside = [seen for seen in loaders if during[seen.key]]
    tests = [(seen, sign) for seen in beside if (sign := says_test(seen))]
    if not tests:
        return RULE.ok("No split that is called test was looked at during training.")
    if len(tests) < len(beside):
        return RULE.ok("A split other than test is evaluated during training too.")
    seen, sign = tests[0]
    saved = [one for one in log.all(Saved) if any(p.end and p.end < one.at for p in during[seen.key])]
    plateau = [one for one in log.all(Scheduled) if "ReduceLROnPlateau" in str(one.where.subject)]
    numbers: dict[str, int | str] = {"looks during training": len(during[seen.key]), "wanted": 0, "sign": sign}
    fix = "training, validation = random_split(training_set, [0.9, 0.1]); keep the test split for the end"
    if (saved and len(saved) < len(during[seen.key])) or plateau:
        return RULE.warn(
            "Weights or learning rates are chosen on the test split: its figure is then too good.",
            where=seen.where,
            numbers=numbers,
            fix=fix,
        )
    return RULE.tip(
        "The test split serves as validation split: whatever is chosen by its figures makes them too good.",
        where=seen.where,
        numbers=numbers,
        fix=fix,
    )
