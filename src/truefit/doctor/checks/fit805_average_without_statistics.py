"""An average of the weights is measured with BatchNorm statistics that never moved with it."""

from typing import Any

import torch
from torch import nn

from truefit.doctor.finding import Finding, Severity, Where
from truefit.doctor.log import Log, ModelSeen, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT805",
    "average-without-statistics",
    "checkpoint",
    Severity.WARN,
    "Averaged weights come with BatchNorm statistics of their own: copied, averaged, or measured anew.",
)
ALIKE = 0.5


def check(log: Log) -> Finding:
    trained = [seen for seen in log.trained_models() if seen.norms_at_first]
    others = [seen for seen in log.models.values() if seen.norms_at_first and not seen.trained_forwards]
    pairs = [(one, two) for one in others for two in trained if _shapes(one.module) == _shapes(two.module)]
    if not pairs:
        return RULE.not_applicable("no second model with the trained model's layers and BatchNorm was measured")
    codes = {one.code for one in log.all(Step)}
    for average, model in pairs:
        stale, moved = _unchanged(average), not _unchanged(model)
        if stale and moved and _follows(average, model):
            # In the training loop rather than in the helper that measures.
            where: Where = next((place for code, place in average.chain if code in codes), average.where)
            return RULE.warn(
                "A second model follows the trained one's weights, but its BatchNorm statistics stay as they began: "
                "it is measured with statistics of other weights.",
                where=where,
                numbers={
                    "BatchNorm layers whose statistics stayed": len(average.norms_at_first),
                    "of": len(average.norms_at_first),
                    "similarity of the weights (cosine)": round(_similarity(average, model), 3),
                },
                fix="for e, b in zip(ema.buffers(), model.buffers()): e.copy_(b)  # or update_bn(loader, ema)",
            )
    return RULE.ok("Averaged models have statistics that move with them.", numbers={"models": len(pairs)})


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters()]


def _unchanged(seen: ModelSeen) -> bool:
    """Whether all statistics are what they were at the first call, or what BatchNorm begins with."""
    return all(
        (torch.equal(norm.running_mean, mean) and torch.equal(norm.running_var, var)) or _initial(norm)
        for norm, mean, var in seen.norms_at_first
    )


def _initial(norm: Any) -> bool:
    return not bool(norm.running_mean.any()) and bool((norm.running_var == 1).all())


def _follows(average: ModelSeen, model: ModelSeen) -> bool:
    """Whether its weights have moved while it was there, or are near the trained ones with statistics never set."""
    if average.weight_at_first is None or _similarity(average, model) < ALIKE:
        return False
    name, first = average.weight_at_first
    moved = not torch.equal(dict(average.module.named_parameters())[name].detach(), first)
    return moved or all(_initial(norm) for norm, _, _ in average.norms_at_first)


def _similarity(average: ModelSeen, model: ModelSeen) -> float:
    """Cosine between the weights of two or more dimensions of two models with the same shapes."""
    pairs = zip(average.module.parameters(), model.module.parameters(), strict=True)
    one, two = zip(*[(a.detach().flatten(), b.detach().flatten()) for a, b in pairs if a.ndim >= 2], strict=True)
    return float(torch.cosine_similarity(torch.cat(one).double(), torch.cat(two).double(), dim=0))
