"""The same class has different numbers in two splits."""

from truefit.doctor.datasets import base_and_indices
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import LoaderSeen, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT502",
    "class-map-mismatch",
    "data",
    Severity.FAIL,
    "Each class has the same number in every split.",
)


def check(log: Log) -> Finding:
    maps = [(seen, found) for seen in log.training_loaders() if (found := _map(seen))]
    others = [(seen, found) for seen in log.evaluation_loaders() if (found := _map(seen))]
    if not maps or not others:
        return RULE.not_applicable("no class names in the data sets of both training and evaluation")
    reference = maps[0][1]
    for seen, found in others:
        shared = set(found) & set(reference)
        wrong = sorted(name for name in shared if found[name] != reference[name])
        if wrong:
            name = wrong[0]
            return RULE.fail(
                f'Class "{name}" is number {reference[name]} in training and {found[name]} in evaluation.',
                where=seen.where,
                numbers={
                    "classes with another number": len(wrong),
                    "classes in training": len(reference),
                    "in evaluation": len(found),
                },
                fix="give every split a folder for each class, or map names to the training set's numbers",
            )
    return RULE.ok("Classes have the same numbers in training and evaluation.", numbers={"classes": len(reference)})


def _map(seen: LoaderSeen) -> dict[str, int] | None:
    found = base_and_indices(seen.loader)
    classes = getattr(found[0], "class_to_idx", None) if found is not None else None
    return dict(classes) if isinstance(classes, dict) and classes else None
