"""Layers that run but are not part of the module: kept in a plain list or dict, or made anew in each forward."""

from typing import Any

from torch import nn

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, ModelSeen
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT201",
    "parameters-not-registered",
    "model",
    Severity.FAIL,
    "Every layer that runs is found by model.parameters(): as an attribute, or in nn.ModuleList, nn.ModuleDict.",
)


def check(log: Log) -> Finding:
    models = log.trained_models()
    # A network none of whose layers is registered has no parameter, and is no model for the log; its layers are.
    models = models or [seen for seen in log.models.values() if seen.unregistered]
    if not models:
        return RULE.not_applicable("no model was trained")
    held = log.optimized()
    for seen in models:
        for module, where in seen.unregistered.values():
            lost = [p for p in module.parameters() if p.requires_grad and id(p) not in held]
            # A layer that was left out on purpose gets no gradient.
            if lost and any(p.grad is not None for p in lost):
                count = sum(p.numel() for p in lost)
                path = _path(seen, module)
                return RULE.fail(
                    f"A {type(module).__name__} runs, but is not registered: the optimiser never sees its "
                    f"{count:,} parameters, and state_dict does not save them.",
                    where=where,
                    numbers={"where it is kept": path or "nowhere: it is made in forward", "parameters": count},
                    fix=f"self.{path.partition('[')[0]} = nn.ModuleList([...])"
                    if path
                    else "make the layer in __init__",
                )
    return RULE.ok("Every layer that ran is registered.")


def _path(seen: ModelSeen, wanted: nn.Module) -> str:
    """The attribute, list or dict that holds the layer: `blocks[0]`."""
    for name, module in seen.module.named_modules():
        prefix = f"{name}." if name else ""
        for attribute, value in vars(module).items():
            for key, part in _parts(value):
                if part is wanted or (isinstance(part, nn.Module) and any(m is wanted for m in part.modules())):
                    return f"{prefix}{attribute}[{key!r}]"
    return ""


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []
