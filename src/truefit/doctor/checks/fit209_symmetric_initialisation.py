"""Units of a hidden layer that began equal and stay equal: a layer as wide as one unit."""

from torch import nn

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT209",
    "symmetric-initialisation",
    "model",
    Severity.FAIL,
    "The units of a layer differ from the start: their weights are drawn at random.",
)
LEAST, ROUNDING = 3, 1e-6


def check(log: Log) -> Finding:
    models = log.trained_models()
    held = log.optimized()
    if not models or log.steps < LEAST:
        return RULE.not_applicable(f"no model was trained for {LEAST} steps")
    for seen in models:
        layers = [(n, m) for n, m in seen.module.named_modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
        # One linear layer alone may begin at zero: its units get different gradients from the labels.
        for name, layer in layers if len(layers) > 1 else []:
            weight = layer.weight.detach()
            trained = id(layer.weight) in held and layer.weight.requires_grad and id(layer) in seen.called
            if not trained or layer is seen.last_called or len(weight) < 2 or getattr(layer, "groups", 1) > 1:
                continue
            if float((weight - weight[:1]).abs().max()) <= ROUNDING * float(weight.abs().max()):
                return RULE.fail(
                    f"All {len(weight)} units of {name} have the same weights, also after {log.steps} steps: they "
                    "get the same gradient, and work as one.",
                    where=log.initialised_at.get(weight.data_ptr(), seen.where),
                    numbers={"units": len(weight), "largest difference at most": ROUNDING, "steps": log.steps},
                    fix=f"leave PyTorch's own initialisation, or nn.init.kaiming_uniform_(model.{name}.weight)",
                )
    return RULE.ok("The units of each layer differ.")
