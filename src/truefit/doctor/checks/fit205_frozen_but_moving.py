"""Frozen weights that a step still moves (momentum, decay), and frozen BatchNorm whose statistics move."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT205",
    "frozen-but-moving",
    "model",
    Severity.FAIL,
    "What is frozen stays as it is: no weight moves, and BatchNorm layers are in eval mode.",
)
LEAST = 2


def check(log: Log) -> Finding:
    models = log.trained_models()
    frozen = [p for seen in models for p in seen.module.parameters() if not p.requires_grad]
    if not frozen:
        return RULE.not_applicable("nothing is frozen")
    names = {id(p): name for seen in models for name, p in seen.module.named_parameters()}
    for seen in log.optimizers.values():
        moved = [key for key, count in seen.moved_frozen.items() if count >= LEAST]
        if moved:
            return RULE.fail(
                f"{names.get(moved[0], 'A parameter')} is frozen, and the optimiser's steps still move it: it kept "
                "a gradient, and momentum or weight decay go on.",
                where=seen.where,
                numbers={"frozen tensors that moved": len(moved), "steps": max(seen.moved_frozen.values())},
                fix="freeze first; then the optimiser gets [p for p in model.parameters() if p.requires_grad]",
            )
    trained = log.trained_forwards()
    running = {event.model for event in log.all(Forward) if event.at in trained and event.training}
    for model in models:
        still = list(model.moving_norms.values())
        if model.key in running and still:
            return RULE.warn(
                f"{len(still)} frozen BatchNorm layers run in train mode: their statistics move, and the frozen part "
                "changes.",
                where=still[0] if still[0].file else model.where,
                numbers={"frozen BatchNorm layers in train mode": len(still)},
                fix="after model.train(): for m in model.modules(): if isinstance(m, nn.BatchNorm2d): m.eval()",
            )
    return RULE.ok("What is frozen stays as it is.", numbers={"frozen tensors": len(frozen)})
