"""Weights after 50 steps are bit-equal to those of a plain PyTorch loop, with the same batches and flags.

Only the order of the samples is taken from truefit; the loop below is otherwise what anyone would write.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from helpers import assert_same_weights
from truefit import ConvNet, Recipe, Trainer, loop, train
from truefit.data.augment import Pipeline
from truefit.data.batches import MemoryBatches
from truefit.data.plan import Plan
from truefit.recipes.recipe import OptimizerConfig, ScheduleConfig
from truefit.tasks.single_label import SingleLabel

BATCH, SIDE = 8, 24
# 24 full batches and one of 6: two epochs are 50 steps.
SAMPLES = 24 * BATCH + 6

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1, fused=True),
}


def pictures(samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (samples, SIDE, SIDE, 3), generator=draw, dtype=torch.uint8)
    return pixels, torch.randint(10, (samples,), generator=draw)


def two_networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    network = ConvNet().to(memory_format=torch.channels_last)
    return network, copy.deepcopy(network)


def raw_loop(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    orders: Iterable[Tensor],
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
) -> list[float]:
    """The plain loop. A batch is cut into parts of at most BATCH / accumulate samples, as even as can be."""
    losses = []
    network.train()
    for rows in orders:
        optimizer.zero_grad()
        total = 0.0
        for part in torch.tensor_split(rows, -(-len(rows) // (BATCH // accumulate))):
            loss = F.cross_entropy(network(images[part]), labels[part]) * (len(part) / len(rows))
            loss.backward()
            total = total + loss.detach()
        if clip_norm is not None:
            # In the optimizer's order, because the norm is a sum, whose last bit depends on it.
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
        optimizer.step()
        losses.append(float(total))
    return losses


def scaled(pixels: Tensor) -> Tensor:
    """Floats in 0..1, (N, 3, H, W), in channels_last memory format."""
    return (pixels / 255).permute(0, 3, 1, 2)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loop_is_bit_equal(optimizer: str, accumulate: int, clip_norm: float | None) -> None:
    ours, raw = two_networks()
    pixels, labels = pictures()
    plan = Plan(samples=SAMPLES, batch_size=BATCH, seed=0, share_last=True)
    batches = MemoryBatches(pixels, labels, plan, Pipeline(scale=255.0), device=torch.device("cpu"))
    steps, losses = OPTIMIZERS[optimizer](ours.parameters()), []
    for epoch in range(2):
        losses += loop.train_epoch(
            ours, batches, SingleLabel(10), steps, epoch=epoch, accumulate=accumulate, clip_norm=clip_norm
        ).losses
    raw_losses = raw_loop(
        raw,
        OPTIMIZERS[optimizer](raw.parameters()),
        scaled(pixels),
        labels,
        [rows for epoch in range(2) for rows in plan.batches(epoch)],
        accumulate=accumulate,
        clip_norm=clip_norm,
    )
    assert len(losses) == 50
    assert losses == raw_losses
    assert_same_weights(ours, raw)


@pytest.mark.parametrize("fused", [True, False])
def test_the_function_is_bit_equal(fused: bool) -> None:
    samples = 49 * BATCH + 6
    ours, raw = two_networks()
    pixels, labels = pictures(samples)
    images = scaled(pixels)
    torch.manual_seed(3)
    optimizer = torch.optim.Adam(ours.parameters(), fused=fused)
    losses = train(ours, TensorDataset(images, labels), BATCH, optimizer, nn.CrossEntropyLoss())
    torch.manual_seed(3)
    orders = Plan(samples=samples, batch_size=BATCH, seed=int(torch.randint(2**62, ()))).batches(0)
    raw_losses = raw_loop(raw, torch.optim.Adam(raw.parameters(), fused=fused), images, labels, orders)
    assert len(losses) == 50
    assert losses == raw_losses
    assert_same_weights(ours, raw)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_trainer_is_bit_equal(accumulate: int) -> None:
    ours, raw = two_networks()
    pixels, labels = pictures()
    images = scaled(pixels)
    recipe = Recipe(
        epochs=2,
        batch_size=BATCH,
        accumulate=accumulate,
        clip_norm=0.5,
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.1),
        schedule=ScheduleConfig(name="constant", warmup=0.0),
    )
    Trainer(ours, recipe, seed=4, device="cpu").fit(TensorDataset(images, labels))
    # The trainer's one choice of its own: biases and norms do not decay.
    matrices = [p for p in raw.parameters() if p.ndim > 1]
    vectors = [p for p in raw.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=1e-3, fused=True
    )
    plan = Plan(samples=SAMPLES, batch_size=BATCH, seed=4)
    orders = [rows for epoch in range(2) for rows in plan.batches(epoch)]
    raw_loop(raw, optimizer, images, labels, orders, accumulate=accumulate, clip_norm=0.5)
    assert_same_weights(ours, raw)
