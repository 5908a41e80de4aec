"""How long does the device wait for the host between kernels, when ResNet-18 is trained with the recipe standard?

    python benchmarks/host_gap.py [--steps 40] [--name host_gap]

Random images of 32 and of 224 pixels in memory, batches of 64, through `Trainer.fit` as it comes, and with
steps that are not recorded (--execution eager). A profiler trace of `--steps` steps, after 20: the time of their span
in which no kernel and no copy ran on the device, as a share; and the part of it in gaps of 3 microseconds and more,
which are too long to be those between two kernels of a graph. Outside the trace, the median time of a step.
Writes results/NAME.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from protocol import save
from torch.profiler import ProfilerActivity, profile

from truefit import Trainer, find_recipe
from truefit.data.imageset import Data, ImageSet
from truefit.events import Event, StepFinished
from truefit.provenance import provenance

BEFORE = 20
# Nanoseconds: about twice what lies between two kernels of a graph that wait for each other.
LONG_GAP = 3_000


class EnoughError(Exception):
    """The trace is taken."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--name", default="host_gap")
    options = parser.parse_args()
    rows = []
    for side in (32, 224):
        data = images(side, 64 * (BEFORE + 2 * options.steps + 10))
        for execution in ("auto", "eager"):
            row = {"side": side, "execution": execution, **traced(data, options.model, execution, options.steps)}
            print(row, flush=True)
            rows.append(row)
    device = torch.device("cuda")
    result = {"model": options.model, "rows": rows, "device": torch.cuda.get_device_name(), **provenance(device)}
    save(options.name, __doc__ or "", result)


def images(side: int, n: int) -> Data:
    draw = np.random.default_rng(0)
    pixels = np.resize(draw.integers(0, 256, (256, side, side, 3), dtype=np.uint8), (n, side, side, 3))
    classes = tuple("abcdefghij")
    train = ImageSet(split="train", classes=classes, labels=np.arange(n) % 10, pixels=pixels, image_size=side)
    return Data(name="random", spec="random", train=train, validation=None, test=None, mirror=True)


def traced(data: Data, model: str, execution: Any, steps: int) -> dict[str, Any]:
    """Train for BEFORE steps, `steps` with the clock, `steps` with the profiler; then break off."""
    done = 0
    marks: list[float] = []
    trace: Any = None

    def observe(event: Event) -> None:
        nonlocal done, trace
        if not isinstance(event, StepFinished):
            return
        done += 1
        if BEFORE <= done <= BEFORE + steps and (done - BEFORE) % 10 == 0:
            torch.cuda.synchronize()
            marks.append(time.perf_counter())
        if done == BEFORE + steps:
            trace = profile(activities=[ProfilerActivity.CUDA])
            trace.__enter__()
        if done == BEFORE + 2 * steps:
            torch.cuda.synchronize()
            trace.__exit__(None, None, None)
            raise EnoughError

    recipe = replace(find_recipe("standard"), epochs=1, batch_size=64, execution=execution)
    with contextlib.suppress(EnoughError):
        Trainer(model, recipe, observers=[observe]).fit(data)
    spans = sorted(
        (event.start_ns(), event.start_ns() + event.duration_ns())
        for event in trace.profiler.kineto_results.events()
        if event.device_type() == torch.autograd.DeviceType.CUDA and event.duration_ns() > 0
    )
    busy, long, end = 0, 0, spans[0][0]
    for start, stop in spans:
        busy += max(0, stop - max(start, end))
        long += start - end if start - end >= LONG_GAP else 0
        end = max(end, stop)
    whole = end - spans[0][0]
    a_step = [(after - before) / 10 for before, after in itertools.pairwise(marks)]
    return {
        "step_ms": round(1e3 * statistics.median(a_step), 3),
        "kernels_and_copies_a_step": round(len(spans) / steps, 1),
        "device_busy_ms_a_step": round(busy / steps / 1e6, 3),
        "gap_share": round(1 - busy / whole, 4),
        "long_gap_share": round(long / whole, 4),
    }


if __name__ == "__main__":
    main()
