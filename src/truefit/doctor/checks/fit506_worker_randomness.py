"""A data set with a random generator of its own: each worker process, and each epoch, begins with the same copy."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from truefit import rng
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT506",
    "worker-randomness",
    "data",
    Severity.FAIL,
    "Random numbers in a worker process come from generators that PyTorch seeds for it: random, numpy.random, torch.",
)
WORKERS = 2


def check(log: Log) -> Finding:
    loaders = [seen for seen in log.training_loaders() if getattr(seen.loader, "num_workers", 0) >= WORKERS]
    loaders = [seen for seen in loaders if not isinstance(seen.loader.dataset, IterableDataset)]
    if not loaders:
        return RULE.not_applicable("no training with two or more worker processes")
    if all(seen.loader.worker_init_fn is not None for seen in loaders):
        return RULE.not_applicable("a worker_init_fn seeds the workers")
    looked = 0
    for seen in loaders:
        if seen.loader.worker_init_fn is not None:
            continue
        try:
            same = _same_in_each_copy(seen.loader.dataset)
        except Exception:  # a data set that can't be copied or read is not judged
            continue
        looked += 1
        if same:
            return RULE.fail(
                "The data set draws from a generator of its own, which every worker gets a copy of: all workers, in "
                "every epoch, draw the same random numbers.",
                where=seen.where,
                numbers={"worker processes": seen.loader.num_workers, "replayed": "two copies, two seeds: alike"},
                fix="draw from torch, random or numpy.random, or seed the generator in worker_init_fn",
            )
    return (
        RULE.ok("Workers draw random numbers of their own.") if looked else RULE.not_run("no sample could be fetched")
    )


def _same_in_each_copy(dataset: Any) -> bool:
    """Whether one copy gives another image at each fetch, and two copies with different seeds the same ones."""
    draws = []
    for seed in (1, 2):
        with rng.seeded_host(seed):
            one = _copy(dataset)
            draws.append([_image(one[0]) for _ in range(3)])
    first, second = draws
    random = any(not torch.equal(first[0], other) for other in first[1:])
    return random and all(map(torch.equal, first, second))


def _copy(dataset: Any) -> Any:
    """As a worker gets it, but with arrays and tensors shared."""
    memo: dict[int, Any] = {}
    inner = dataset
    for _ in range(4):
        for value in vars(inner).values():
            for part in value if isinstance(value, list | tuple) and len(value) < 100 else [value]:
                if isinstance(part, Tensor | np.ndarray):
                    memo[id(part)] = part
        inner = getattr(inner, "dataset", None)
        if inner is None:
            break
    return copy.deepcopy(dataset, memo)


def _image(sample: Any) -> Tensor:
    image = sample[0] if isinstance(sample, list | tuple) else sample
    return torch.as_tensor(np.asarray(image)).clone()
