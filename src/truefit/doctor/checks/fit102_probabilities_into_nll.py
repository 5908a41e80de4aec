"""NLLLoss is given probabilities instead of their logarithms."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Loss
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT102",
    "probabilities-into-nll",
    "loss",
    Severity.FAIL,
    "NLLLoss is given log-probabilities: no value above 0.",
)


def check(log: Log) -> Finding:
    calls = [loss for loss in log.all(Loss) if loss.name == "nll_loss" and loss.above_zero is not None]
    if not calls:
        return RULE.not_applicable("NLLLoss was not called")
    # Log-densities may rise above 0; what ends in softmax, or lies in 0..1 with rows that sum to 1, may not be one.
    wrong = [loss for loss in calls if loss.above_zero and (loss.made_by == "softmax" or loss.probabilities)]
    if len(wrong) >= min(2, len(calls)):
        return RULE.fail(
            "NLLLoss is given probabilities, and takes them for log-probabilities: the loss is negative, and its "
            "gradient no longer grows where the network is wrong.",
            where=wrong[0].where,
            numbers={"calls with rows that sum to 1": len(wrong), "calls": len(calls), "wanted": "values of at most 0"},
            fix="use log_softmax instead of softmax, or logits with CrossEntropyLoss",
        )
    return RULE.ok("NLLLoss is given log-probabilities.", numbers={"calls": len(calls)})
