"""What a run says about itself: config.json, and the part of model.json that names the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from truefit import rng
from truefit.config import to_plain
from truefit.data.collate import count_samples
from truefit.data.imageset import Data, ImageSet
from truefit.fitting.plan import AnySet, FitPlan
from truefit.precision import Settings
from truefit.predictor import Predictor, PredictorConfig
from truefit.provenance import provenance
from truefit.recipes.recipe import Recipe
from truefit.tasks.multi_label import USUAL

GOLDEN_SAMPLES = 8


def describe_run(
    plan: FitPlan,
    recipe: Recipe,
    network: nn.Module,
    config: PredictorConfig,
    settings: Settings,
    data: dict[str, Any],
) -> dict[str, Any]:
    """config.json: the same for two equal runs. data: from `describe_data`."""
    return {
        "data": data,
        "model": {
            "name": plan.model if isinstance(plan.model, str) else None,
            "class": _class_of(network),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
        "recipe": to_plain(recipe),
        "seed": plan.seed,
        "measure_training": plan.measure_training,
        "select_on": plan.select_on,
        "calibrate": plan.calibrate,
        "max_time": plan.max_time,
        "auto_batch_size": plan.auto_batch_size,
        "deterministic": plan.deterministic,
        # As it was before training: what calibration adds stands in model.json.
        "predictor": to_plain(replace(config, temperature=1.0, sure=(), thresholds=(USUAL,) * len(config.thresholds))),
        "settings": to_plain(settings),
        "from": plan.begun_with.about if plan.begun_with is not None else None,
        **provenance(torch.device(settings.device)),
    }


def describe_data(sets: dict[str, AnySet | None], classes: tuple[str, ...] | None, data: Data | None) -> dict[str, Any]:
    """Name, options, splits with n and fingerprint. sets: by the names of the splits. data: where it came by name."""
    splits: dict[str, Any] = {}
    for name, dataset in sets.items():
        if dataset is not None:
            splits[name] = {"n": count_samples(dataset, name)}
            if isinstance(dataset, ImageSet):
                splits[name]["fingerprint"] = dataset.fingerprint()
                splits[name]["counts"] = dataset.counts().tolist()
    about: dict[str, Any] = {"splits": splits, "classes": list(classes) if classes else None}
    if data is not None:
        about |= {
            "name": data.name,
            "spec": data.spec,
            "options": data.options,
            "notes": list(data.notes),
        }
    return about


def describe_model(plan: FitPlan, predictor: Predictor) -> dict[str, Any]:
    """model.json: what the weights belong to, and how the network is used."""
    return {
        "architecture": {
            "name": plan.model if isinstance(plan.model, str) else None,
            "class": _class_of(predictor.network),
            "num_classes": len(predictor.config.classes),
        },
        "predictor": to_plain(predictor.config),
        "weights": predictor.weights,
        "selected_on": predictor.selected_on,
    }


def golden_images(dataset: Any, seed: int) -> Tensor:
    """The first samples of a data set, stacked: the inputs of the golden batch."""
    samples = count_samples(dataset, "data set")
    with rng.seeded(seed):
        if samples is None:
            chosen = [image for (image, _), _ in zip(dataset, range(GOLDEN_SAMPLES), strict=False)]
        else:
            chosen = [dataset[index][0] for index in range(min(GOLDEN_SAMPLES, samples))]
    return torch.stack(chosen)


def _class_of(network: nn.Module) -> str:
    return f"{type(network).__module__}.{type(network).__qualname__}"
