"""Gradients of several batches are added up for a step, and each loss counts in full: the step is too long."""

import math

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Backward, Log, Loss, Scaled, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT306",
    "accumulation-not-divided",
    "loop",
    Severity.WARN,
    "Where the gradients of k batches are added up for one step, each loss is divided by k.",
)
LEAST, WITHIN = 3, 0.05


def check(log: Log) -> Finding:
    if len(log.optimizers) != 1:
        return RULE.not_applicable("not exactly one optimiser took steps")
    steps = list(log.all(Step))
    # One batch for each backward: two losses of one batch are a sum on purpose.
    summed = [one for one in steps if one.backwards >= 2 and one.fetches >= one.backwards]
    if len(summed) < LEAST:
        return RULE.not_applicable("no gradients of several batches are added up")
    if any(True for _ in log.all(Scaled)):
        return RULE.not_run("losses carry a gradient scaler's scale")
    parts = _parts(log)
    whole: list[tuple[Step, list[Backward]]] = []
    divided = undecided = 0
    for one in summed:
        before = max((other.at for other in steps if other.at < one.at), default=0)
        mine = [(b, ratio) for b, ratio in parts if before < b.at < one.at]
        if len(mine) < one.backwards or len({b.where.line for b, _ in mine}) > 1:
            undecided += 1
        elif any(abs(ratio - 1) > WITHIN for _, ratio in mine):
            divided += 1
        elif one.norms is None or one.norms[1] < 0.99 * one.norms[0]:
            # Somebody has made the summed gradient smaller: by dividing it, or by clipping.
            undecided += 1
        else:
            whole.append((one, [b for b, _ in mine]))
    if len(whole) >= LEAST and not divided:
        step, backwards = whole[0]
        return RULE.warn(
            f"The gradients of {step.backwards} batches are added up for a step, and each loss counts in full: the "
            f"gradient is {step.backwards} times that of one large batch.",
            where=backwards[0].where,
            numbers={
                "batches a step": step.backwards,
                "loss given to backward / mean loss of its batch": 1,
                "wanted": f"1/{step.backwards}",
                "steps looked at": len(whole),
            },
            fix=f"(loss / {step.backwards}).backward()",
        )
    if divided:
        return RULE.ok("Losses are divided by the number of batches.", numbers={"steps": divided})
    return RULE.not_run(f"{undecided} steps could not be recounted")


def _parts(log: Log) -> list[tuple[Backward, float]]:
    """Backwards that follow one loss of known value, with their value as a part of that loss."""
    found = []
    losses: list[Loss] = []
    for event in log.events:
        if isinstance(event, Loss) and event.grad:
            losses.append(event)
        elif isinstance(event, Backward):
            if len(losses) == 1 and losses[0].value is not None and event.value is not None:
                value = float(losses[0].value)
                if math.isfinite(value) and abs(value) > 1e-8:
                    found.append((event, event.value / value))
            losses = []
    return found
