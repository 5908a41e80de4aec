"""Parameters that the optimiser holds and that never get a gradient."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT202",
    "unused-parameters",
    "model",
    Severity.WARN,
    "Every trainable parameter gets a gradient, at least in some steps.",
)
LEAST = 3


def check(log: Log) -> Finding:
    models = [seen for seen in log.trained_models() if log.steps >= LEAST]
    if not models:
        return RULE.not_applicable(f"no model was trained for {LEAST} steps")
    steps = {id(p): one for one in log.optimizers.values() for g in one.optimizer.param_groups for p in g["params"]}
    for seen in models:
        never = [
            (name, p)
            for name, p in seen.module.named_parameters()
            if p.requires_grad
            and id(p) in steps
            and steps[id(p)].steps >= LEAST
            and steps[id(p)].without_gradient.get(id(p), 0) == steps[id(p)].steps
        ]
        ran = {id(p) for module in seen.called.values() for p in module.parameters(recurse=False)}
        idle = [(name, p) for name, p in never if id(p) not in ran]
        if idle:
            return RULE.warn(
                f"{len(idle)} of the model's parameter tensors never get a gradient, as their layers never run: "
                f"{idle[0][0]} and others."
                if len(idle) > 1
                else f"{idle[0][0]} never gets a gradient: it never runs.",
                where=seen.where,
                numbers={"tensors": len(idle), "parameters": sum(p.numel() for _, p in idle), "steps": log.steps},
                fix="use these layers in forward, or remove them",
            )
    return RULE.ok("Every layer that the optimiser holds runs.", numbers={"steps": log.steps})
