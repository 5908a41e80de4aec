"""Evaluation against a bare forward loop in inference mode: images a second, and the ratio.

    python benchmarks/evaluation_speed.py [--images 10000] [--rounds 11] [--batches 32 64 128 256 512 1024]

ConvNet on images of 32 x 32, random ones. Bare: float tensors, normalised and in channels_last in memory before the
clock starts, `torch.inference_mode()`, `argmax`, hits counted once at the end; the best batch size is found first, by
two passes of each. truefit: `truefit.evaluate` of a Predictor on an ImageSet of bytes, from call to Evaluation: gather,
normalise, forward, loss, count, probabilities; and, told apart, all further figures. Sides in turns within one process;
results/evaluation_speed.json: median images a second, the ratio of medians with its 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from protocol import ratio_interval, save
from torch import Tensor

from truefit import ConvNet, ImageSet, evaluate
from truefit.precision import resolve
from truefit.predictor import Predictor, PredictorConfig

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
CLASSES = tuple("abcdefghij")


def bare(network: ConvNet, images: Tensor, labels: Tensor, batch: int) -> int:
    """The loop that an expert would write."""
    network.eval()
    hits = torch.zeros((), dtype=torch.int64)
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            outputs = network(images[start : start + batch])
            hits += (outputs.argmax(1) == labels[start : start + batch]).sum()
    return int(hits)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024])
    parser.add_argument("--name", default="evaluation_speed")
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (options.images, 32, 32, 3), dtype=np.uint8)
    dataset = ImageSet(
        split="test", classes=CLASSES, labels=draw.integers(0, 10, options.images), pixels=pixels, image_size=32
    )
    torch.manual_seed(0)
    network = ConvNet().to(memory_format=torch.channels_last)
    settings = resolve(device="cpu", precision="float32", image_size=(32, 32))
    config = PredictorConfig(classes=CLASSES, image_size=32, mean=MEAN, std=STD)
    predictor = Predictor(network, config, settings)
    floats = ((torch.from_numpy(pixels) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(dataset.labels)
    # The same answers, or the comparison would mean nothing.
    assert bare(network, floats, labels, 256) == evaluate(predictor, dataset).correct
    tried = {
        size: min(seconds(lambda size=size: bare(network, floats, labels, size)) for _ in range(2))  # type: ignore[misc]
        for size in options.batches
    }
    best = min(tried, key=lambda size: tried[size])
    sides: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(network, floats, labels, best),
        "truefit": lambda: evaluate(predictor, dataset),
        "truefit with all figures": lambda: evaluate(predictor, dataset).to_json(),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, work in sides.items():
            found[name].append(seconds(work))
    result = {}
    for name, times in found.items():
        result[name] = {
            "images_per_second": round(options.images / float(np.median(times)), 1),
            "seconds": [round(value, 4) for value in times],
            "ratio_to_bare": round(float(np.median(found["bare"]) / np.median(times)), 4),
            "ratio_interval": ratio_interval(found["bare"], times),
        }
        print(name, {key: value for key, value in result[name].items() if key != "seconds"})
    save(
        options.name,
        f"benchmarks/evaluation_speed.py: {options.images} random images, ConvNet, {options.rounds} rounds in turns in "
        "one process; ratio of medians of images a second to the bare loop's, 95 % bootstrap interval",
        {
            "bare_batch": best,
            "bare_seconds_by_batch": {str(size): round(value, 4) for size, value in tried.items()},
            "truefit_batch": settings.evaluation_batch_size,
            "sides": result,
        },
    )


if __name__ == "__main__":
    main()
