"""The outputs are the same whichever image they are for: the images never reach them, or nothing was learnt of them."""

import torch
from torch.nn import functional as F

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Loss, ModelSeen
from truefit.doctor.replay import call, distance, example, untouched, whole_models
from truefit.doctor.rule import Rule
from truefit.doctor.samples import again, answers

RULE = Rule(
    "FIT108",
    "ignores-images",
    "loss",
    Severity.FAIL,
    "With the images of a batch exchanged among each other the loss is worse.",
    # Each of these keeps a network from learning.
    follows_from=(*(f"FIT{n}" for n in range(101, 106)), "FIT2", "FIT3", "FIT4", "FIT504"),
)
LIMIT, STEPS, ERRORS, LEAST = 1e-6, 100, 2.0, 64
# Outputs that differ this much between images, as a part of the largest, are far above rounding.
SEEN = 1e-3


def check(log: Log) -> Finding:
    models = whole_models(log)
    if not models:
        return RULE.not_applicable("no trained model whose inputs are tensors")
    for seen in models:
        if _replaced(seen):
            return RULE.fail(
                "The outputs stay the same when other images are put in: they are made from something else.",
                where=seen.where,
                numbers={"largest change with other images": 0.0, "above": LIMIT},
                fix="look in forward for where the images are used, or overwritten",
            )
    if log.steps < STEPS or log.cut:
        return RULE.ok("Outputs depend on the images.")
    widths = _classes_trained(log)
    for seen in models:
        for loader in log.training_loaders() if widths else ():
            part = again(log, seen, loader)
            outputs = answers(seen, part.images) if part is not None else None
            if part is None or outputs is None or len(outputs) < LEAST or outputs.shape[1] <= int(part.labels.max()):
                continue
            if outputs.shape[1] not in widths:
                continue
            labels = part.labels[: len(outputs)]
            own, other = (F.cross_entropy(one, labels, reduction="none") for one in (outputs, outputs.roll(1, 0)))
            gain = other - own
            error = float(gain.std()) / len(gain) ** 0.5
            if float(gain.mean()) < ERRORS * error:
                return RULE.warn(
                    f"After {log.steps} steps the loss of training images is the same when they are exchanged among "
                    "each other: nothing has been learnt of them.",
                    where=seen.where,
                    numbers={
                        "cross-entropy": round(float(own.mean()), 4),
                        "with images exchanged": round(float(other.mean()), 4),
                        "wanted": f"a difference above {ERRORS * error:.4f}",
                    },
                    fix="try other learning rates, and whether labels belong to their images",
                )
    return RULE.ok("Outputs depend on the images.")


def _classes_trained(log: Log) -> set[int]:
    """How many classes the outputs have that labels are compared with in training: other outputs, such as pictures
    or embeddings, have nothing to do with the labels that a data set may give as well."""
    return {
        one.shape[1]
        for one in log.all(Loss)
        if one.grad and one.name in ("cross_entropy", "nll_loss") and len(one.shape) == 2
    }


def _replaced(seen: ModelSeen) -> bool:
    """Whether outputs of several rows, that differ, stay with their rows when the first input's rows move on."""
    inputs = example(seen, least=4)
    if inputs is None or bool((inputs[0] == inputs[0][:1]).all()):
        return False
    with untouched(seen.module):
        first = call(seen, inputs, training=False)
        moved = call(seen, (inputs[0].roll(1, 0), *inputs[1:]), training=False)
    if (
        not first
        or len(first) != len(moved)
        or any(a.shape != b.shape or not a.ndim for a, b in zip(first, moved, strict=True))
    ):
        return False
    finite = all(bool(torch.isfinite(one).all()) for one in first)
    # What would be seen if the outputs went with the images. Of an untrained network in eval mode it may be nothing.
    expected = max(distance(one, one.roll(1, 0)) for one in first)
    return finite and expected > SEEN and max(map(distance, first, moved)) <= LIMIT
