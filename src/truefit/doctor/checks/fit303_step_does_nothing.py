"""Steps that leave the weights as they were, or steps that never come."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Backward, Log, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT303",
    "step-does-nothing",
    "loop",
    Severity.FAIL,
    "A step with a gradient that is not zero changes the weights.",
)
LEAST, BACKWARDS = 5, 20


def check(log: Log) -> Finding:
    steps = list(log.all(Step))
    backwards = list(log.all(Backward))
    if not steps:
        trains = [one for one in log.models.values() if one.trained_forwards]
        if len(backwards) >= BACKWARDS and trains and log.optimizers_made:
            return RULE.fail(
                f"backward ran {len(backwards)} times, and no optimiser ever took a step.",
                where=backwards[0].where,
                numbers={"backwards": len(backwards), "steps": 0},
                fix="optimizer.step()  # after backward, with the brackets",
            )
        return RULE.not_applicable("no optimiser took a step")
    for key in log.optimizers:
        measured = [one for one in steps if one.optimizer == key and one.changed is not None]
        still = [one for one in measured if not one.changed]
        if len(measured) >= LEAST and len(still) == len(measured):
            zero = all(max(one.rates, default=0.0) == 0.0 for one in measured)
            return RULE.fail(
                "The optimiser's steps change no weight, although gradients are not zero"
                + (": the learning rate is 0." if zero else "."),
                where=measured[0].where,
                numbers={
                    "steps measured": len(measured),
                    "that changed a weight": 0,
                    "largest learning rate": max(max(one.rates, default=0.0) for one in measured),
                },
                fix="look at the learning rate, and at which parameters the optimiser was made from",
            )
    return RULE.ok("Steps change the weights.", numbers={"steps": len(steps)})
