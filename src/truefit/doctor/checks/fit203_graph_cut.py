"""Layers that run but get no gradient, as the graph is cut behind them: detach, .data, .numpy(), no_grad."""

import torch

from truefit.doctor.finding import Finding, Severity, Where
from truefit.doctor.log import Log, ModelSeen
from truefit.doctor.operations import cuts_graph
from truefit.doctor.replay import call, untouched
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT203",
    "graph-cut",
    "model",
    Severity.FAIL,
    "Gradients flow from the loss back to the first trainable layer.",
)
LEAST = 3


def check(log: Log) -> Finding:
    models = [seen for seen in log.trained_models() if seen.examples["train"]]
    if not models or log.steps < LEAST:
        return RULE.not_applicable(f"no model was trained for {LEAST} steps")
    steps = {id(p): one for one in log.optimizers.values() for g in one.optimizer.param_groups for p in g["params"]}
    for seen in models:
        ran = {id(p) for module in seen.called.values() for p in module.parameters(recurse=False)}
        never = {
            name: p
            for name, p in seen.module.named_parameters()
            if p.requires_grad
            and id(p) in ran
            and id(p) in steps
            and steps[id(p)].steps >= LEAST
            and steps[id(p)].without_gradient.get(id(p), 0) == steps[id(p)].steps
        }
        cut = [name for name, missing in _replayed(seen, never).items() if missing] if never else []
        if cut:
            return RULE.fail(
                f"No gradient reaches {cut[0]}{f' and {len(cut) - 1} more tensors' if len(cut) > 1 else ''}: their "
                "layers run, but the graph is cut between them and the output.",
                where=_line(seen, [never[name] for name in cut]) or seen.where,
                numbers={
                    "tensors without gradient": len(cut),
                    "steps": log.steps,
                    "replayed": "all outputs, grad None",
                },
                fix="remove .detach(), .data, .numpy() or no_grad() from forward; to freeze: requires_grad_(False)",
            )
    return RULE.ok("Gradients reach every trainable layer that runs.", numbers={"steps": log.steps})


def _replayed(seen: ModelSeen, parameters: dict[str, torch.Tensor]) -> dict[str, bool]:
    """For each parameter whether none of the model's outputs depends on it, by a replay of one training call."""
    with untouched(seen.module):
        outputs = call(seen, seen.examples["train"][0], training=True, grad=True)
        total = sum((one.float().sum() for one in outputs if one.requires_grad), torch.zeros(()))
        if not total.requires_grad:
            return dict.fromkeys(parameters, True)
        grads = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {name: grad is None for name, grad in zip(parameters, grads, strict=True)}


def _line(seen: ModelSeen, parameters: list[torch.Tensor]) -> Where | None:
    with untouched(seen.module):
        return cuts_graph(lambda: call(seen, seen.examples["train"][0], training=True, grad=True), parameters)
