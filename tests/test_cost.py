"""What a step costs, by counting what torch is asked to do: nothing here depends on the clock."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from truefit import loop
from truefit.data.augment import Pipeline
from truefit.data.batches import MemoryBatches
from truefit.data.imageset import Data, ImageSet
from truefit.data.plan import Plan
from truefit.models.convnet import ConvNet
from truefit.optim.optimizers import build_optimizer
from truefit.recipes.recipe import AugmentConfig, OptimizerConfig, OptimizerName, Recipe
from truefit.tasks.single_label import SingleLabel
from truefit.trainer import Trainer

# Reading a value on the host, which makes it wait for the device.
SYNCS = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero"}


# Measured: 418, forward and backward included; a copy of the batch or of the weights more would show.
MOST_ALLOCATIONS = 420


class Count(TorchDispatchMode):
    """Counts the operations that reach torch's kernels, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func._schema.name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def syncs(self) -> int:
        return sum(self.calls[name] for name in SYNCS)


def images(n: int, split: str = "train") -> ImageSet:
    generator = np.random.default_rng(len(split))  # no split shares an image with another
    return ImageSet(
        split=split,
        classes=("a", "b"),
        labels=np.arange(n) % 2,
        pixels=generator.integers(0, 256, (n, 24, 24, 3), dtype=np.uint8),
        image_size=24,
    )


def count_epoch(steps: int, optimizer: OptimizerName) -> Count:
    data = images(4 * steps)
    assert data.pixels is not None
    network = ConvNet(2).to(memory_format=torch.channels_last)
    batches = MemoryBatches(
        torch.from_numpy(data.pixels),
        torch.from_numpy(data.labels),
        Plan(samples=len(data), batch_size=4, seed=0),
        Pipeline(
            mean=(0.5,) * 3,
            std=(0.2,) * 3,
            scale=255,
            augmentation=AugmentConfig(flip=True, shift=0.1),
        ),
        device=torch.device("cpu"),
    )
    stepper = build_optimizer(network, OptimizerConfig(name=optimizer))
    with Count() as count:
        loop.train_epoch(network, batches, SingleLabel(2), stepper, clip_norm=1.0)
    return count


@pytest.fixture
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are read back at the end of the pass only, so that the clock has no say in the counts."""
    monkeypatch.setattr(loop, "READ_BACK_SECONDS", 1e9)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "muon"])
@pytest.mark.usefixtures("no_progress")
def test_a_step_never_asks_the_device_for_a_value(optimizer: OptimizerName) -> None:
    few, many = count_epoch(3, optimizer), count_epoch(9, optimizer)
    assert few.syncs == many.syncs


@pytest.mark.usefixtures("no_progress")
def test_the_number_of_operations_a_step_stays_what_it_was() -> None:
    few, many = count_epoch(3, "adamw"), count_epoch(9, "adamw")
    per_step = {name: (many.calls[name] - few.calls[name]) / 6 for name in many.calls}
    # 7 convolutions, 3 max pools and 6 norms each way, one optimiser call.
    assert per_step["aten::convolution"] == per_step["aten::convolution_backward"] == 7
    assert per_step["aten::max_pool2d_with_indices"] == 3
    assert per_step["aten::_fused_adamw_"] == 2  # weights, and biases without decay
    # The batch is gathered once, its labels once, and which to mirror; one copy makes it float.
    assert per_step["aten::index_select"] == 3
    # 18 of BatchNorm's buffers are remembered and, where a step is not finite, put back.
    assert sum(per_step.values()) <= 275


@pytest.mark.usefixtures("no_progress")
def test_a_step_allocates_as_often_as_it_did() -> None:
    def allocations(steps: int) -> int:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            count_epoch(steps, "adamw")
        assert seen.profiler is not None
        assert seen.profiler.kineto_results is not None
        return sum(e.name() == "[memory]" and e.nbytes() > 0 for e in seen.profiler.kineto_results.events())

    allocations(3)
    per_step = (allocations(9) - allocations(3)) / 6
    assert 0 < per_step <= MOST_ALLOCATIONS


def test_each_split_is_passed_over_no_more_than_it_must_be() -> None:
    passes: Counter[tuple[str, int]] = Counter()

    def observe(event: Any) -> None:
        if type(event).__name__ == "PassStarted":
            passes[event.split, event.epoch] += 1

    data = Data(
        name="x", spec="x", train=images(8), validation=images(8, "validation"), test=images(8, "test"), mirror=True
    )
    Trainer("convnet", Recipe(epochs=2, batch_size=4), observers=[observe]).fit(data)
    assert passes == {
        ("train", 0): 1,
        ("train", 1): 1,
        ("validation", 0): 1,
        ("validation", 1): 1,
        ("test", 0): 1,
    }
