"""A network that is split between processes, in the tests: `torchrun --nproc-per-node 2 split.py FOLDER`.

Writes FOLDER/split-RANK.json, and runs into FOLDER.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from work import fitted, pictures

from helpers import image_set, tiny_network, weights
from truefit import Recipe, Trainer, dist
from truefit.errors import Interrupted
from truefit.events import Event, Note, StepFinished
from truefit.optim.optimizers import build_optimizer
from truefit.recipes.recipe import EmaConfig, OptimizerConfig
from truefit.sharding import Shards

SGD = OptimizerConfig(name="sgd", lr=0.05)
# Steps of 16 in parts of 4, the last one of a single sample: the second process has none of it.
PARTS = Recipe(epochs=2, batch_size=16, accumulate=4, clip_norm=0.5, ema=EmaConfig(decay=0.9), optimizer=SGD)
# With the randomness of a network of its own, whose state is each process's.
RESUMED = Recipe(epochs=3, batch_size=8, ema=EmaConfig(decay=0.9), optimizer=replace(SGD, lookahead=3))
STOP_AT = 9


class Branched(nn.Module):
    """Layers of all kinds: in a row, on their own, with a weight of the module itself, with one that two share."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(108, 7), nn.ReLU()), nn.Linear(7, 7))
        self.first, self.second = nn.Linear(7, 7, bias=False), nn.Linear(7, 7, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(7, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.body(images)
        outputs: torch.Tensor = self.head(self.second(self.first(hidden).relu()) * self.scale)
        return outputs


def branched() -> nn.Module:
    torch.manual_seed(0)
    return Branched()


def curves(shard: bool) -> dict[str, Any]:
    return {
        "fifty_steps": fitted(Recipe(epochs=5, batch_size=64, optimizer=SGD), pictures(9 * 64 + 37), shard=shard),
        "in_parts": fitted(PARTS, image_set(33), validation_set=image_set(30, seed=1), shard=shard),
        "branched": fitted(
            Recipe(epochs=2, batch_size=8), image_set(27), branched(), validation_set=image_set(30, seed=1), shard=shard
        ),
    }


def sizes() -> dict[str, int]:
    """How many numbers this process holds, of the network and of the optimiser's state."""
    network = tiny_network()
    shards = Shards(torch.device("cpu"))
    optimizer = build_optimizer(shards.split(network), OptimizerConfig())
    held = [part for group in optimizer.param_groups for part in group["params"]]
    for part in held:
        part.grad = torch.zeros_like(part)
    optimizer.step()
    shards.end()
    state = [value for values in optimizer.state.values() for value in values.values()]
    return {
        "whole": sum(p.numel() for p in network.parameters()),
        "weights": sum(part.untyped_storage().nbytes() // part.element_size() for part in held),
        "state": sum(value.numel() for value in state),
    }


def into(out: Path, *, resume: bool = False, stop: bool = False, shard: bool = True) -> dict[str, Any]:
    """Train into a folder; with `stop` the second process is asked to end in the middle of an epoch."""
    said: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    trainer = Trainer(tiny_network(batchnorm=True, dropout=0.3), RESUMED, shard=shard, observers=[listen])
    steps = 0

    def count(event: Event) -> None:
        nonlocal steps
        steps += isinstance(event, StepFinished)
        if stop and steps == STOP_AT:
            signal.raise_signal(signal.SIGTERM)

    trainer.notify = _both(trainer.notify, count)  # type: ignore[method-assign]
    run = trainer.fit(image_set(40), image_set(300, seed=1), out=out, resume=resume, checkpoint_every="500steps")
    assert run.evaluation is not None
    return {
        "said": said,
        "weights": {name: tensor.tolist() for name, tensor in weights(run.network).items()},
        "correct": run.evaluation.correct,
        "loss": run.evaluation.loss,
    }


def _both(first: Any, second: Any) -> Any:
    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with dist.joined("cpu"):
        found = {"sizes": sizes(), "curves": curves(shard=True), "undisturbed": into(folder / "undisturbed")}
        try:
            into(folder / "stopped", stop=True)
            raise AssertionError("was not stopped")
        except Interrupted:
            pass
        if dist.is_first():
            shutil.copytree(folder / "stopped", folder / "for-one")
        found["resumed"] = into(folder / "stopped", resume=True)
    (folder / f"split-{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
