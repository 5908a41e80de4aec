"""The evaluation runs in train mode: dropout drops, and BatchNorm uses and changes its statistics."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Log, Loss
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT601",
    "evaluates-in-train-mode",
    "evaluation",
    Severity.FAIL,
    "The model is in eval mode while it is measured.",
)
LEAST = 1


def check(log: Log) -> Finding:
    held = {seen.key for seen in log.trained_models()}
    if not held:
        return RULE.not_applicable("no model was trained")
    evaluating = {seen.key for seen in log.evaluation_loaders()}
    measured = {loss.forward for loss in log.all(Loss) if not loss.grad}
    passes = {one.number for one in log.passes if one.evaluates and one.loader in evaluating}
    scored = {one.number for one in log.passes if one.evaluates}
    trained = log.trained_forwards()
    calls = [
        one
        for one in log.all(Forward)
        if one.model in held
        and one.at not in trained
        and (one.on or one.off)
        and (one.loader_pass in passes or (one.at in measured and not one.grad and _apart(one, scored)))
    ]
    if not calls:
        return RULE.not_applicable("no evaluation of a trained model with BatchNorm or dropout was seen")
    wrong = [one for one in calls if one.training and one.on]
    if len(wrong) >= LEAST:
        return RULE.fail(
            "The model is measured in train mode: dropout drops, BatchNorm uses the batch's own statistics and goes on "
            "learning from the evaluation's images.",
            where=wrong[0].where,
            numbers={
                "evaluation calls in train mode": len(wrong),
                "of": len(calls),
                "layers that were on": max(one.on for one in wrong),
            },
            fix="model.eval()  # before the evaluation; model.train() after it",
        )
    return RULE.ok("The model is measured in eval mode.", numbers={"calls": len(calls)})


def _apart(call: Forward, scored: set[int]) -> bool:
    """Outside of a pass that trains: a loop without a DataLoader, or a pass that only measures."""
    return call.loader_pass is None or call.loader_pass in scored
