"""The "best" weights were kept without a copy: they went on training, and are the last ones."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, Log, NamedBest, Saved, Step
from truefit.doctor.rule import Rule
from truefit.doctor.source import assigned

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
    named = _named(log)
    if named is not None:
        return named
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


def _named(log: Log) -> Finding | None:
    """What is called best, and was trained on under that name."""
    trained = {seen.key for seen in log.trained_models()}
    steps = [one.at for one in log.all(Step)]
    found = [one for one in log.all(NamedBest) if one.model in trained]
    for one in found:
        since = sum(at > one.at for at in steps)
        if not since:
            continue
        details = {
            "where": assigned(one.where) or one.where,
            "numbers": {"name": one.name, "optimiser steps while it had that name": since, "wanted": "a copy"},
            "fix": f"{one.name} = copy.deepcopy({'model' if one.whole else 'model.state_dict()'})",
        }
        if one.whole:
            return RULE.warn(f"{one.name} is the model itself, and not a copy: training goes on in it.", **details)
        return RULE.fail(f"{one.name} holds the living weights, and not a copy: training goes on in them.", **details)
    return None
