"""Parameters that get gradients, but that no optimiser moves."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT302",
    "optimizer-misses-parameters",
    "loop",
    Severity.FAIL,
    "Every parameter that gets a gradient belongs to an optimiser that steps.",
)
LEAST = 3


def check(log: Log) -> Finding:
    if log.steps < LEAST:
        return RULE.not_applicable(f"fewer than {LEAST} optimiser steps were taken")
    held = log.optimized()
    loaded = {key for event in log.all(Loaded) if event.what == "model" for key in event.parameters}
    seen_models = [seen for seen in log.models.values() if seen.trained_forwards]
    own = {id(p) for seen in seen_models for p in seen.module.parameters()}
    foreign = held - own
    for seen in seen_models:
        parameters = list(seen.module.named_parameters())
        missed = [(n, p) for n, p in parameters if p.requires_grad and id(p) in log.with_gradient and id(p) not in held]
        if not missed:
            continue
        random = [(n, p) for n, p in missed if id(p) not in loaded]
        optimizer = next(iter(log.optimizers.values()))
        numbers: dict[str, int | str] = {
            "parameter tensors missed": len(missed),
            "first of them": missed[0][0],
            "held by optimisers": len(held),
            "held, but of no model that runs": len(foreign),
        }
        if "frozen" in log.declared and not foreign:
            return RULE.ok("declared frozen, and verified: no optimiser holds them.", numbers=numbers)
        if foreign or random:
            what = (
                "it holds tensors of another model, or of layers that were replaced later"
                if foreign
                else "they keep the random weights that they began with"
            )
            return RULE.fail(
                f"{missed[0][0]}{f' and {len(missed) - 1} more' if len(missed) > 1 else ''} get gradients, but no "
                f"optimiser moves them: {what}.",
                where=optimizer.where,
                numbers=numbers,
                fix="make the optimiser last, from all of them: optim.SGD(model.parameters(), ...)",
            )
        return RULE.warn(
            f"{len(missed)} loaded parameter tensors get gradients that nobody uses.",
            where=optimizer.where,
            numbers=numbers,
            fix="freeze them: model.backbone.requires_grad_(False), or declare: # truefit: frozen",
        )
    return RULE.ok("Every parameter that gets a gradient is held by an optimiser.")
