"""float16 autocast without a gradient scaler: small gradients become zero."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Backward, Forward, Log, Scaled
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT404",
    "float16-without-scaler",
    "numerics",
    Severity.FAIL,
    "float16 goes with a GradScaler; bfloat16 needs none.",
)


def check(log: Log) -> Finding:
    trained = log.trained_forwards()
    half = [one for one in log.all(Forward) if one.half and one.at in trained]
    if not half:
        return RULE.not_applicable("nothing was trained in float16 autocast")
    scaled = list(log.all(Scaled))
    if not scaled:
        numbers = {one.at for one in half}
        backwards = [one for one in log.all(Backward) if numbers.intersection(one.forwards)]
        return RULE.fail(
            "Training runs in float16 without a gradient scaler: gradients below 6e-8 become zero.",
            where=backwards[0].where,
            numbers={"training calls in float16": len(half), "losses scaled": 0},
            fix="dtype=torch.bfloat16, or scaler = torch.amp.GradScaler(); scaler.scale(loss).backward(); ...",
        )
    return RULE.ok("float16 is used with a gradient scaler.", numbers={"losses scaled": len(scaled)})
