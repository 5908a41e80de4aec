"""An output that depends on the other samples of its batch: view instead of permute, a norm over dim 0."""

import torch
from torch import Tensor

from truefit.doctor.finding import Finding, Severity, Where
from truefit.doctor.log import Log, ModelSeen
from truefit.doctor.operations import mixes_samples
from truefit.doctor.replay import call, distance, example, untouched, whole_models
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT206",
    "batch-mixing",
    "model",
    Severity.FAIL,
    "In eval mode the output of a sample is the same whatever else is in its batch.",
)
LIMIT = 1e-3


def check(log: Log) -> Finding:
    models = whole_models(log)
    if not models:
        return RULE.not_applicable("no trained model whose inputs are tensors")
    largest = 0.0
    looked = 0
    for seen in models:
        found = _mixing(seen)
        if found is None:
            continue
        looked += 1
        largest = max(largest, found)
        if found > LIMIT:
            return RULE.fail(
                "The output for an image depends on the other images of its batch, also in eval mode.",
                where=_line(seen) or seen.where,
                numbers={"change of an output when the others are replaced": f"{found:.2g}", "at most": LIMIT},
                fix="look for view or reshape that mixes dimension 0, softmax(dim=0), or a norm over the batch",
            )
    if not looked:
        return RULE.not_run("no model gave one row of outputs for each sample, twice alike")
    return RULE.ok("Each output depends on its own image alone.", numbers={"largest change": f"{largest:.2g}"})


def _mixing(seen: ModelSeen) -> float | None:
    """The smaller change over two choices of sample, in eval mode; None where rows are no samples or noise hides it."""
    inputs = example(seen, least=4)
    if inputs is None:
        return None
    count = len(inputs[0])
    with untouched(seen.module):
        first = call(seen, inputs, training=False)
        again = call(seen, inputs, training=False)
        if not first or any(len(one) != count if one.ndim else True for one in first):
            return None
        if any(not one.isfinite().all() for one in first) or max(map(distance, first, again)) > 0:
            return None
        changes = []
        for kept in (0, count - 1):
            swapped = _others_replaced(inputs, kept)
            second = call(seen, swapped, training=False)
            changes.append(max(distance(a[kept], b[kept]) for a, b in zip(first, second, strict=True)))
    return min(changes) if torch.isfinite(torch.tensor(changes)).all() else None


def _others_replaced(inputs: tuple[Tensor, ...], kept: int) -> tuple[Tensor, ...]:
    """All samples but one change places with their mirror images in value: other samples, same range."""
    others = [index for index in range(len(inputs[0])) if index != kept]
    swapped = []
    for one in inputs:
        new = one.clone()
        new[others] = one[others].flip(0) * 0.5 if one.is_floating_point() else one[others].flip(0)
        swapped.append(new)
    return tuple(swapped)


def _line(seen: ModelSeen) -> Where | None:
    """Where in the user's code samples are mixed first."""
    inputs = example(seen, least=4)
    assert inputs is not None
    # A number that sizes of layers are seldom a multiple of: axes of samples are known by it.
    count = next((size for size in (13, 11, 7, 5) if size <= len(inputs[0])), len(inputs[0]))
    few = tuple(one[:count] for one in inputs)
    with untouched(seen.module):
        return mixes_samples(
            lambda given: call(seen, given, training=False),
            few,
            _others_replaced(few, count // 2),
            count,
        )
