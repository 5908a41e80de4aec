"""What several processes do together in the tests, and one alone: every function gives figures that must agree.

`torchrun --nproc-per-node 2 work.py FOLDER` writes FOLDER/RANK.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import Stream, image_set, tiny_network, weights
from truefit import Recipe, Trainer, dist, evaluate
from truefit.data.imageset import ImageSet
from truefit.events import Event, StepFinished
from truefit.fitting.timing import Clock
from truefit.recipes.recipe import AugmentConfig, EmaConfig, LossConfig, OptimizerConfig

CLASSES = tuple("abcd")


def pictures(samples: int, seed: int = 0) -> ImageSet:
    """Random images of 8 x 8 whose class shifts their colour."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(4, size=samples)
    pixels = draw.integers(0, 128, size=(samples, 8, 8, 3)) + 32 * labels[:, None, None, None]
    return ImageSet(pixels=pixels.astype(np.uint8), labels=labels, classes=CLASSES, split="train")


def fitted(
    recipe: Recipe,
    training_set: Any,
    network: nn.Module | None = None,
    validation_set: Any = None,
    shard: bool = False,
) -> dict[str, Any]:
    """Train, with a loss for each step, and what the network was in the end."""
    losses: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepFinished):
            losses.append(float(event.loss))

    network = network if network is not None else tiny_network()
    run = Trainer(network, recipe, observers=[listen], shard=shard).fit(training_set, validation_set)
    return {
        "losses": losses,
        "running": [line["running_accuracy"] for line in run.history],
        "training": [line["training_loss"] for line in run.history],
        "validation": [line["validation_correct"] for line in run.history],
        "weights": {name: tensor.tolist() for name, tensor in weights(run.network).items()},
    }


def fifty_steps() -> dict[str, Any]:
    """Batches of 64, the last one of 37, every kind of augmentation."""
    how = AugmentConfig(flip=True, shift=0.125, brightness=0.2, contrast=0.2, cutout=0.25, crop=0.9)
    recipe = Recipe(epochs=5, batch_size=64, augment=how, optimizer=OptimizerConfig(name="sgd", lr=0.05))
    return fitted(recipe, pictures(9 * 64 + 37))


def in_parts() -> dict[str, Any]:
    """Steps of up to 16 in parts of 4, the last step of one sample, a clipped gradient, averaged weights."""
    recipe = Recipe(epochs=2, batch_size=16, accumulate=4, clip_norm=0.5, ema=EmaConfig(decay=0.9))
    return fitted(recipe, image_set(33), validation_set=image_set(30, seed=1))


def mixed_and_balanced() -> dict[str, Any]:
    """Images changed by a policy and mixed with those of other processes, classes shown equally often."""
    how = AugmentConfig(flip=True, shift=0.125, policy="randaugment", erase=0.5, mixup=0.4, cutmix=1.0)
    recipe = Recipe(epochs=2, batch_size=16, augment=how, sampling="balanced", loss=LossConfig(focal=1.0))
    return fitted(recipe, pictures(69), validation_set=pictures(30, seed=1))


def from_a_stream() -> dict[str, Any]:
    return fitted(Recipe(epochs=2, batch_size=8), Stream(image_set(27)), validation_set=image_set(30, seed=1))


def with_an_unused_layer() -> dict[str, Any]:
    """A layer that no step uses is left alone by weight decay, as in one process."""
    network = tiny_network()
    network.register_module("unused", nn.Linear(2, 2, bias=False))
    nn.init.ones_(network.unused.weight)
    unused = network.unused
    network.forward = lambda images: nn.Sequential(*list(network)[:-1])(images)  # type: ignore[method-assign]
    recipe = Recipe(epochs=1, batch_size=8, optimizer=OptimizerConfig(name="sgd", lr=0.1, weight_decay=0.1))
    run = Trainer(network, recipe).fit(image_set(16), image_set(8, seed=1))
    assert run.evaluation is not None
    return {"unused": unused.weight.tolist()}


class Noting(nn.Module):
    """Keeps the mean of the images that it saw last."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = images.mean()
        return images


def with_statistics() -> dict[str, Any]:
    """The last step has 13 images: no number of processes gets equal shares."""
    noting = Noting()
    Trainer(nn.Sequential(noting, tiny_network()), Recipe(epochs=1, batch_size=20)).fit(image_set(33))
    return {"mean": float(noting.mean)}


class Drawing(nn.Module):
    """Draws a number in each pass, as dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.drawn.append(float(torch.rand(())))
        return images


def own_numbers() -> list[float]:
    drawing = Drawing()
    Trainer(nn.Sequential(drawing, tiny_network()), Recipe(epochs=1, batch_size=16)).fit(image_set(32))
    return drawing.drawn[:2]


def with_batchnorm() -> dict[str, Any]:
    """What must be the same in all processes, though not the same as in one."""
    network = tiny_network(batchnorm=True, dropout=0.5)
    constant = torch.tensor([0.1, -float("inf")])
    network.register_buffer("constant", constant.clone())
    found = fitted(Recipe(epochs=2, batch_size=10), image_set(33), network)
    return {"weights": found["weights"]}


def measured() -> dict[str, Any]:
    """101 samples in batches of 16."""
    found = evaluate(tiny_network(), image_set(101), batch_size=16)
    assert found.label.shape == (101,)
    return {
        "n": found.n,
        "correct": found.correct,
        "confusion": np.asarray(found.confusion).tolist(),
        "loss": found.loss,
        "probabilities": found.probabilities.tolist(),
        "label": found.label.tolist(),
        "fingerprint": found.fingerprint,
    }


def few_measured() -> dict[str, Any]:
    """Fewer batches than processes."""
    found = evaluate(tiny_network(), image_set(5), batch_size=16)
    return {"n": found.n, "correct": found.correct, "loss": found.loss}


def within_a_time() -> dict[str, Any]:
    """There is time for all of the two epochs."""
    trainer = Trainer(tiny_network(), Recipe(epochs=2, batch_size=8), max_time=20)
    run = trainer.fit(image_set(27), image_set(30, seed=1))
    return {"steps": run.config["recipe"]["max_steps"], "training": [line["training_loss"] for line in run.history]}


def whose_clock() -> dict[str, bool]:
    """Clocks that are up in the first process alone, and in all but the first."""
    now = time.perf_counter()
    passed, to_come = Clock(now - 1, 0), Clock(now + 1000, 0)
    one, other = (passed, to_come) if dist.is_first() else (to_come, passed)
    return {"first": one.is_up(), "others": other.is_up()}


def everything() -> dict[str, Any]:
    parts = [fifty_steps, in_parts, mixed_and_balanced, from_a_stream, with_an_unused_layer, within_a_time]
    parts += [with_statistics, measured, few_measured]
    return {part.__name__: part() for part in parts}


def main() -> None:
    torch.set_num_threads(1)
    with dist.joined("cpu"):
        found = {**everything(), "with_batchnorm": with_batchnorm(), "whose_clock": whose_clock(), "own": own_numbers()}
    Path(sys.argv[1], f"{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
