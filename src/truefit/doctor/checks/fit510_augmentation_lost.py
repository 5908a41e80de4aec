"""Training was to be augmented, but its transform was replaced: through a Subset that shares the data set."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from truefit import rng
from truefit.doctor.datasets import base_and_indices
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Replaced
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT510",
    "augmentation-lost",
    "data",
    Severity.WARN,
    "Each split has a data set object of its own, with its own transform.",
)
DRAWS = 4


def check(log: Log) -> Finding:
    replaced = list(log.all(Replaced))
    if not replaced:
        return RULE.not_applicable("no attribute of a data set was set a second time")
    looked = 0
    for seen in log.training_loaders():
        found = base_and_indices(seen.loader)
        begin = min((one.begin for one in log.passes_of(seen) if one.trains), default=0)
        mine = [one for one in replaced if found is not None and one.dataset is found[0] and one.at < begin]
        if found is None or not mine or len(found[1]) == 0:
            continue
        last = mine[-1]
        # What was set when training began: nothing set it later, or else what stood there before that.
        later = [one for one in replaced if one.dataset is last.dataset and one.name == last.name and one.at > begin]
        now = later[0].before if later else vars(last.dataset)[last.name]
        index = int(found[1][0])
        try:
            before_random, now_random = (_random(last, value, index) for value in (last.before, now))
        except Exception:  # a data set that can't be read after the script has ended is not judged
            continue
        looked += 1
        if before_random and not now_random:
            return RULE.warn(
                f'The training\'s data set drew random images, until its attribute "{last.name}" was set to another '
                "value before training: training goes on without augmentation.",
                where=last.where,
                numbers={
                    "different images in 4 draws before": "yes",
                    "and since": "no: all alike",
                    "training loader at": str(seen.where),
                },
                fix="make two data sets, one for each transform, and a Subset of each with the same indices",
            )
    return RULE.ok("The training's transform is the one it was given.") if looked else RULE.not_run("not comparable")


def _random(replaced: Replaced, value: Any, index: int) -> bool:
    """Whether draws of one sample differ with this value of the attribute, which is put back."""
    dataset, name = replaced.dataset, replaced.name
    kept = vars(dataset)[name]
    vars(dataset)[name] = value
    try:
        images = [_fetch(dataset, index, seed) for seed in range(DRAWS)]
    finally:
        vars(dataset)[name] = kept
    return any(one.shape != images[0].shape or not torch.equal(one, images[0]) for one in images[1:])


def _fetch(dataset: Any, index: int, seed: int) -> Tensor:
    with rng.seeded_host(seed):
        sample = dataset[index]
    image = sample[0] if isinstance(sample, list | tuple) else sample
    return torch.as_tensor(np.asarray(image)).clone()
