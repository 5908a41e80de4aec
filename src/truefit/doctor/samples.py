"""Samples fetched again after the script has ended, where its loop gives them to the model as they come."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from truefit import rng
from truefit.doctor.datasets import base_and_indices, positions
from truefit.doctor.log import LoaderSeen, Log, ModelSeen, Pass
from truefit.doctor.replay import call, untouched
from truefit.precision import device_of

# Samples, and seconds for fetching them and for a model's answers.
MOST, SECONDS = 512, 2.0
BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Images (n, ...), class indices (n,) int64, and whether another seed gives the same images."""

    images: Tensor
    labels: Tensor
    fixed: bool


def again(log: Log, model: ModelSeen, loader: LoaderSeen) -> Samples | None:
    """Up to MOST samples of a loader, evenly spread. None where they can't be fetched, have no class index, or where
    the loop changes images between the loader and the model."""
    if not any(_as_it_came(model, one) for one in log.passes_of(loader)):
        return None
    key = (loader.key, model.key)
    if key not in log.fetched:
        log.fetched[key] = _fetched(loader)
    found: Samples | None = log.fetched[key]
    return found


def first_batch(log: Log, model: ModelSeen) -> tuple[Tensor, Tensor] | None:
    """The first samples (at most 16) of a pass that trains, as the model was given them, with their class indices."""
    for one in log.passes:
        if one.trains and _as_it_came(model, one) and len(one.labels) >= len(one.first):
            return one.first, torch.tensor(one.labels[: len(one.first)])
    return None


def answers(model: ModelSeen, images: Tensor) -> Tensor | None:
    """Outputs (n, K) in eval mode, on the host; fewer rows where time is over. None where they are no such table."""
    found = []
    begin = time.perf_counter()
    with untouched(model.module):
        for part in torch.split(images, BATCH):
            try:
                outputs = call(model, (part.to(device_of(model.module)),), training=False)
            except Exception:  # it takes no other batches than those it was called with
                return None
            if len(outputs) != 1 or outputs[0].ndim != 2 or len(outputs[0]) != len(part):
                return None
            found.append(outputs[0].float().cpu())
            if time.perf_counter() - begin > SECONDS:
                break
    return torch.cat(found)


def fetch(dataset: Any, index: int, seed: int) -> tuple[Tensor, Any] | None:
    """One sample's image and label, with the generators seeded; None where it can't be read any more."""
    try:
        with rng.seeded_host(seed):
            sample = dataset[index]
    except Exception:  # the script has removed its files, or closed them
        return None
    image = sample[0] if isinstance(sample, list | tuple) and sample else sample
    label = sample[1] if isinstance(sample, list | tuple) and len(sample) > 1 else None
    return (copy.deepcopy(image), label) if isinstance(image, Tensor) else None


def differ(dataset: Any, indices: list[int]) -> int | None:
    """How many of these samples are another image with another seed, and not with the same one."""
    changed = 0
    for index in indices:
        found = [fetch(dataset, index, seed) for seed in (1, 1, 2)]
        images = [one[0] for one in found if one is not None]
        if len(images) < 3:
            return None
        one, same, other = images
        changed += torch.equal(one, same) and (one.shape != other.shape or not torch.equal(one, other))
    return changed


def _as_it_came(model: ModelSeen, one: Pass) -> bool:
    """Whether the model was given the first samples of this pass, and nothing else."""
    if one.first is None:
        return False
    for inputs in (*model.examples["train"], *model.examples["eval"]):
        given = inputs[0].cpu()
        if len(inputs) == 1 and given.shape == one.first.shape and torch.equal(given, one.first.cpu()):
            return True
    return False


def _fetched(loader: LoaderSeen) -> Samples | None:
    dataset = getattr(loader.loader, "dataset", None)
    known = positions(loader.loader) if base_and_indices(loader.loader) is not None else ()
    if len(known) < 2:
        return None
    indices = known[np.unique(np.linspace(0, len(known) - 1, MOST).astype(int))].tolist()
    # Where time runs out, those that were fetched are spread as well.
    np.random.default_rng(0).shuffle(indices)
    images, labels = [], []
    begin = time.perf_counter()
    for index in indices:
        found = fetch(dataset, index, 1)
        label = None if found is None else found[1]
        if (
            found is None
            or not isinstance(label, int | np.integer | Tensor)
            or (isinstance(label, Tensor) and label.ndim)
        ):
            return None
        images.append(found[0])
        labels.append(int(label))
        if time.perf_counter() - begin > SECONDS:
            break
    changed = differ(dataset, indices[:3])
    if changed is None or any(one.shape != images[0].shape for one in images):
        return None
    return Samples(images=torch.stack(images), labels=torch.tensor(labels), fixed=not changed)
