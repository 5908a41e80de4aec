"""In eval mode two calls on the same images differ: dropout that never stops."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Log
from truefit.doctor.replay import call, distance, example, untouched, whole_models
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT207",
    "evaluation-not-deterministic",
    "model",
    Severity.WARN,
    "In eval mode the same images give the same outputs.",
)
LIMIT = 1e-5


def check(log: Log) -> Finding:
    if "mc-dropout" in log.declared:
        return RULE.not_applicable("declared: mc-dropout")
    models = whole_models(log)
    if not models:
        return RULE.not_applicable("no trained model whose inputs are tensors")
    for seen in models:
        inputs = example(seen)
        assert inputs is not None
        with untouched(seen.module):
            one = call(seen, inputs, training=False, seed=1)
            same = call(seen, inputs, training=False, seed=1)
            other = call(seen, inputs, training=False, seed=2)
        if not one or len(one) != len(other) or any(a.shape != b.shape for a, b in zip(one, other, strict=True)):
            continue
        repeatable = max(map(distance, one, same))
        change = max(map(distance, one, other))
        if change > LIMIT and repeatable <= LIMIT:
            functional = next((event for event in log.all(Forward) if event.functional_dropout), None)
            what = "F.dropout without training=self.training" if functional else "a layer that draws random numbers"
            return RULE.warn(
                f"In eval mode the same images give other outputs with another seed: {what}.",
                where=functional.where if functional else seen.where,
                numbers={
                    "change with another seed": f"{change:.2g}",
                    "with the same seed": f"{repeatable:.2g}",
                    "at most": LIMIT,
                },
                fix="F.dropout(x, p, training=self.training), or nn.Dropout(p) made in __init__",
            )
    return RULE.ok("In eval mode the same images give the same outputs.")
