"""The layer that gives the answer is frozen, with weights that nothing ever set."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT204",
    "almost-all-frozen",
    "model",
    Severity.FAIL,
    "With a frozen backbone at least the new last layer is trained.",
)


def check(log: Log) -> Finding:
    models = log.trained_models()
    if not models:
        return RULE.not_applicable("no model was trained")
    # Loaded, or trained before it was frozen.
    loaded = {key for event in log.all(Loaded) for key in event.parameters} | log.optimized()
    for seen in models:
        parameters = list(seen.module.parameters())
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        total = sum(p.numel() for p in parameters)
        head = list(seen.last_called.parameters(recurse=False)) if seen.last_called is not None else []
        if trainable < total and head and not any(p.requires_grad or id(p) in loaded for p in head):
            name = next((n for n, m in seen.module.named_modules() if m is seen.last_called), "the last layer")
            return RULE.fail(
                f"The last layer ({name}) is frozen with its random weights: what it answers can hardly be learnt.",
                where=seen.where,
                numbers={"trainable parameters": trainable, "of": total},
                fix=f"model.{name}.requires_grad_(True)",
            )
    return RULE.ok("The last layer is trained, or was loaded.")
