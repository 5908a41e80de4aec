"""log_softmax in front of CrossEntropyLoss: applied twice it changes nothing."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Loss
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT106",
    "log-softmax-before-cross-entropy",
    "loss",
    Severity.TIP,
    "log_softmax goes with NLLLoss, logits go with CrossEntropyLoss.",
)


def check(log: Log) -> Finding:
    calls = [loss for loss in log.all(Loss) if loss.name == "cross_entropy" and loss.grad]
    if not calls:
        return RULE.not_applicable("CrossEntropyLoss was not called")
    found = [loss for loss in calls if loss.made_by == "log_softmax"]
    if found:
        return RULE.tip(
            "The network ends in log_softmax, and CrossEntropyLoss applies it once more: harmless, but not needed.",
            where=found[0].where,
            numbers={"calls": len(found)},
            fix="remove log_softmax, or use NLLLoss",
        )
    return RULE.ok("No log_softmax in front of CrossEntropyLoss.")
