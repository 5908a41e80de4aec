"""The loss became NaN or infinite."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Backward, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT402",
    "not-finite",
    "numerics",
    Severity.FAIL,
    "Every loss is a finite number.",
)


def check(log: Log) -> Finding:
    backwards = [one for one in log.all(Backward) if one.value is not None]
    if not backwards:
        return RULE.not_applicable("no loss was seen")
    bad = [(number, one) for number, one in enumerate(backwards, 1) if not one.finite]
    if bad:
        number, first = bad[0]
        cause = (
            "the batch of images holds NaN or infinity already"
            if first.bad_input
            else "the images are finite, so it arose in the model or the loss"
        )
        return RULE.fail(
            f"The loss is {first.value} at backward number {number}: {cause}.",
            where=first.where,
            numbers={"first": number, "not finite": len(bad), "of": len(backwards)},
            fix="mend the images (a standard deviation of 0?)"
            if first.bad_input
            else "lower the learning rate, clip the gradient's norm, or look for log(0) and division by 0",
        )
    return RULE.ok("Every loss was finite.", numbers={"losses": len(backwards)})
