"""Softmax (or sigmoid) in front of a loss that applies it itself."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Loss
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT101",
    "softmax-before-cross-entropy",
    "loss",
    Severity.FAIL,
    "CrossEntropyLoss is given logits: any real numbers, rows that do not sum to 1.",
)
LEAST = 2


def check(log: Log) -> Finding:
    calls = [loss for loss in log.all(Loss) if loss.name in ("cross_entropy", "binary_cross_entropy_with_logits")]
    if not calls:
        return RULE.not_applicable("no loss that takes logits was called")
    softmax = [
        loss for loss in calls if loss.made_by == "softmax" and loss.probabilities and loss.name == "cross_entropy"
    ]
    sigmoid = [loss for loss in calls if loss.made_by == "sigmoid" and loss.name != "cross_entropy"]
    for found, layer in ((softmax, "softmax"), (sigmoid, "sigmoid")):
        proven = [loss for loss in found if loss.grad]
        if len(proven) >= LEAST or (proven and len(calls) < LEAST):
            first = proven[0]
            numbers: dict[str, int | str] = {"calls with it": len(proven), "produced by": f"{layer} (in the graph)"}
            if layer == "softmax":
                numbers["sum of each row"] = "1, at most 0.0001 off"
            return RULE.fail(
                f"The network ends in {layer}, and the loss applies {layer} once more: it learns slowly, and its loss "
                "can't come near 0.",
                where=first.where,
                numbers=numbers,
                fix=f"return logits: remove the {layer} at the end of forward; use it to show probabilities only",
            )
    # Without a graph (evaluation) there is no proof, but rows of probabilities in every call say enough to warn.
    plain = [loss for loss in calls if not loss.grad and loss.probabilities is not None]
    trained = [loss for loss in calls if loss.grad]
    suspicious = [loss for loss in plain if loss.probabilities]
    if len(suspicious) >= LEAST and len(suspicious) == len(plain):
        return RULE.warn(
            "The loss of the evaluation is given probabilities, and takes them for logits: it can't fall below "
            "ln(1 + (K - 1)/e) for K classes.",
            where=suspicious[0].where,
            numbers={"calls with rows that sum to 1": len(suspicious), "calls": len(plain)},
            fix="compute the evaluation's loss from logits, as in training",
        )
    return RULE.ok("The loss is given logits.", numbers={"calls": len(trained) + len(plain)})
