"""A training step on this CPU in each precision that `--precision fastest` chooses from.

    python benchmarks/step_precision.py [--rounds 9] [--steps 6] [--models convnet:24 convnet:32 resnet18:32]

MODEL:SIDE on random images, batches of 160; forward, loss, backward, and a step of SGD. The precisions take turns, some
steps each, in one process; results/step_precision.json: median milliseconds a step, and the ratio of float32's to each
with its 95 % bootstrap interval over rounds, with what the processor can do.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from protocol import ratio_interval, save
from torch import Tensor, nn

from truefit.models.lookup import build_model
from truefit.precision import Precision, Resolved, fastest, threads

BATCH, CLASSES = 160, 10
NAMES: tuple[Resolved, ...] = ("float32", "float32-fast", "bfloat16")


def step_seconds(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, name: Resolved
) -> float:
    start = time.perf_counter()
    with Precision(name).autocast():
        loss = nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def compared(model: str, side: int, rounds: int, steps: int) -> dict[str, Any]:
    """The figures of one model."""
    torch.manual_seed(0)
    network = build_model(model, CLASSES).train().to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, fused=True)
    found: dict[Resolved, list[float]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        for name, medians in found.items():
            taken = [step_seconds(network, optimizer, images, labels, name) for _ in range(steps + 2)]
            # The first steps after a change find other things in the caches.
            medians.append(statistics.median(taken[2:]))
    plain = found["float32"]
    return {
        "chosen": fastest(network, torch.device("cpu")),
        "milliseconds": {name: round(1000 * statistics.median(times), 2) for name, times in found.items()},
        "times_faster_than_float32": {
            name: {
                "ratio": round(statistics.median(plain) / statistics.median(times), 3),
                "interval": ratio_interval(plain, times),
            }
            for name, times in found.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--models", nargs="+", default=["convnet:24", "convnet:32", "resnet18:32"])
    options = parser.parse_args()
    result = {}
    with threads(torch.get_num_threads()):
        for asked in options.models:
            model, _, side = asked.partition(":")
            result[asked] = compared(model, int(side), options.rounds, options.steps)
            print(asked, result[asked], flush=True)
    units = {
        "AVX512-BF16": bool(torch.cpu._is_avx512_bf16_supported()),
        "AMX": bool(torch.cpu._is_amx_tile_supported()),
    }
    save(
        "step_precision",
        f"in one process, precisions in turns, {options.rounds} rounds of {options.steps} steps after 2 that don't "
        f"count; batches of {BATCH} random images in channels_last; ratio of medians, 95 % bootstrap interval",
        {"units": units, "models": result},
    )


if __name__ == "__main__":
    main()
