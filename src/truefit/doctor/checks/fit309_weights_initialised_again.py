"""Weights that were trained are drawn anew, and training goes on: what was learnt is lost."""

import itertools

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Initialised, Loaded, Log, Seeded, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT309",
    "weights-initialised-again",
    "loop",
    Severity.FAIL,
    "Weights are initialised once, before the first step.",
)


# A search for a learning rate puts the weights back once.
LOADS = 2


def check(log: Log) -> Finding:
    steps = list(log.all(Step))
    if not steps:
        return RULE.not_applicable("no optimiser took a step")
    loaded = _loaded_again(log, steps)
    if loaded is not None:
        return loaded
    again = [one for one in log.all(Initialised) if one.trained and steps[0].at < one.at < steps[-1].at]
    if not again:
        return RULE.ok("Weights were initialised before the first step only.")
    first = again[0]
    storages = {
        p.data_ptr() for seen in log.optimizers.values() for g in seen.optimizer.param_groups for p in g["params"]
    }
    share = len({one.storage for one in again} & storages) / max(len(storages), 1)
    before = [one for one in steps if one.at < first.at]
    after = [one for one in steps if one.at > first.at]
    numbers: dict[str, int | str] = {
        "steps before": len(before),
        "steps after": len(after),
        "trained tensors drawn anew": f"{share:.0%}",
    }
    if share < 0.3:
        return RULE.not_applicable(
            "only a small part of the trained weights was drawn anew, as when a head is replaced"
        )
    fix = "initialise in the constructor, once; a second call of train() then goes on from the learnt weights"
    # One optimiser on both sides goes on with the momenta of weights that are gone: no experiment does that.
    if before[-1].optimizer == after[0].optimizer:
        return RULE.fail(
            f"Trained weights are initialised again in the middle of training ({first.name}): what was learnt is lost.",
            where=first.where,
            numbers=numbers,
            fix=fix,
        )
    if any(before[-1].at < one.at < after[0].at for one in log.all(Seeded)):
        return RULE.not_applicable("a new seed was set: each training is a run of its own")
    if _other_samples(log, before[-1], after[0]):
        return RULE.not_applicable("training goes on with other samples, as in cross-validation")
    return RULE.warn(
        f"A second training of the same model on the same samples begins with {first.name} again: what the first had "
        "learnt is lost.",
        where=first.where,
        numbers=numbers,
        fix=fix,
    )


def _loaded_again(log: Log, steps: list[Step]) -> Finding | None:
    """The same weights loaded twice into a model that one optimiser trains before, between and after."""
    trained = {seen.key for seen in log.trained_models()}
    loads = [one for one in log.all(Loaded) if one.what == "model" and one.target in trained and not one.alias]
    groups: dict[tuple[int, float], list[Loaded]] = {}
    for one in loads:
        if one.missing * 2 < one.keys:
            groups.setdefault((one.target, one.digest), []).append(one)
    for same in groups.values():
        wrong = []
        for first, second in itertools.pairwise(same):
            between = [step for step in steps if first.at < step.at < second.at]
            after = [step for step in steps if step.at > second.at]
            if between and after and between[-1].optimizer == after[0].optimizer:
                wrong.append(second)
        if len(wrong) >= LOADS:
            return RULE.fail(
                "The same weights are loaded again and again while training goes on: what was learnt in between is "
                "lost each time.",
                where=wrong[0].where,
                numbers={"times loaded again": len(wrong), "at most": LOADS - 1},
                fix="load_state_dict once, before the first epoch",
            )
    return None


def _other_samples(log: Log, before: Step, after: Step) -> bool:
    from truefit.doctor.datasets import same_samples

    if before.loader_pass is None or after.loader_pass is None:
        return False
    one = log.loaders[log.passes[before.loader_pass].loader]
    two = log.loaders[log.passes[after.loader_pass].loader]
    return not same_samples(one, two)
