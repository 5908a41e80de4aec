"""Training steps with the model in eval mode: after the first validation nobody called train() again."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Log, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT301",
    "trains-in-eval-mode",
    "loop",
    Severity.FAIL,
    "The model is in train mode in every training step of every epoch.",
)
LEAST = 2


def check(log: Log) -> Finding:
    trained, held = log.trained_forwards(), {seen.key for seen in log.trained_models()}
    ends = [step.at for step in log.all(Step)]
    last = max(ends, default=0)
    calls = [one for one in log.all(Forward) if one.at in trained and one.at < last]
    sensitive = [one for one in calls if one.on or one.off]
    if not sensitive:
        return RULE.not_applicable("no layer that depends on the mode (BatchNorm, dropout) was trained")
    for key in {one.model for one in sensitive}:
        mine = [one for one in sensitive if one.model == key]
        wrong = [one for one in mine if not one.training and one.on == 0]
        if len(wrong) < LEAST:
            continue
        right = [one for one in mine if one.training and one.at < wrong[0].at]
        passes = [one for one in log.passes if one.trains]
        epoch = next((n for n, one in enumerate(passes, 1) if one.number == wrong[0].loader_pass), None)
        numbers: dict[str, int | str] = {
            "training steps in eval mode": len(wrong),
            "in train mode": len(mine) - len(wrong),
            "layers that were off": max(one.off for one in wrong),
        }
        since = f" from epoch {epoch} on" if epoch else ""
        if right and key in held:
            return RULE.fail(
                f"The model trains in eval mode{since}: dropout is off and BatchNorm's statistics stand still, as "
                "eval() was never undone.",
                where=wrong[0].where,
                numbers=numbers,
                fix="model.train()  # at the start of every epoch, not once before the first",
            )
        if "frozen-batchnorm" in log.declared and not right:
            return RULE.ok("declared frozen-batchnorm, and verified: the mode never changes.", numbers=numbers)
        if key in held and len(wrong) == len(mine):
            return RULE.warn(
                "The model trains in eval mode from the first step: dropout never drops, and BatchNorm's statistics "
                "stand still.",
                where=wrong[0].where,
                numbers=numbers,
                fix="model.train()  # or, where it is meant: # truefit: frozen-batchnorm",
            )
    return RULE.ok("Every training step ran in train mode.", numbers={"steps looked at": len(sensitive)})
