"""The "best" weights were kept without a copy: they went on training, and are the last ones."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, Log, Saved
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT801",
    "best-is-alias",
    "checkpoint",
    Severity.FAIL,
    "Weights that are kept for later are a copy, or a file.",
)


def check(log: Log) -> Finding:
    loads = [one for one in log.all(Loaded) if one.what == "model"]
    saves = list(log.all(Saved))
    if not loads and not saves:
        return RULE.not_applicable("no weights were kept and used again")
    wrong: list[tuple[Loaded | Saved, int]] = [(one, one.age) for one in loads if one.alias and one.age > 0]
    wrong += [(one, one.alias_age) for one in saves if one.alias_age > 0]
    if wrong:
        first, age = wrong[0]
        return RULE.fail(
            f"The weights that were kept {age} steps ago are the living ones: training has changed them since, and "
            "the best epoch is lost.",
            where=first.where,
            numbers={"optimiser steps since they were kept": age, "wanted": "a copy"},
            fix="best = copy.deepcopy(model.state_dict())",
        )
    return RULE.ok("Kept weights are copies or files.", numbers={"loaded": len(loads), "saved": len(saves)})
