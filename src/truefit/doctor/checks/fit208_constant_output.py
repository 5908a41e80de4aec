"""After training the model gives the same outputs for every image."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.replay import call, example, untouched, whole_models
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT208",
    "constant-output",
    "model",
    Severity.FAIL,
    "Different images give different outputs.",
    # Steps that are far too large kill a network.
    follows_from=("FIT304", "FIT306", "FIT402"),
)
LIMIT, STEPS = 1e-6, 20


def check(log: Log) -> Finding:
    models = whole_models(log)
    if not models:
        return RULE.not_applicable("no trained model whose inputs are tensors")
    if log.steps < STEPS:
        return RULE.not_run(f"only {log.steps} steps were seen; it takes {STEPS}, as a network may begin constant")
    for seen in models:
        inputs = example(seen, least=4)
        if inputs is None or bool((inputs[0] == inputs[0][:1]).all()):
            continue
        spreads = []
        with untouched(seen.module):
            for training in (True, False):
                outputs = call(seen, inputs, training=training)
                if not outputs or outputs[0].ndim != 2 or len(outputs[0]) != len(inputs[0]):
                    break
                values = outputs[0].float()
                spreads.append(float(values.std(dim=0).max()) / max(float(values.abs().mean()), 1e-12))
        if len(spreads) == 2 and max(spreads) < LIMIT:
            return RULE.fail(
                "The model gives the same outputs for every image: it has learnt nothing from them.",
                where=seen.where,
                numbers={"spread of outputs over images": f"{max(spreads):.2g}", "at least": LIMIT, "steps": log.steps},
                fix="look for dead ReLUs (lower the learning rate), or for inputs that are lost on the way",
            )
    return RULE.ok("Different images give different outputs.")
