"""Does the doctor stay silent on every classification model of torchvision, and on 60 of timm?

    python benchmarks/doctor_models.py [--only resnet18 timm/...] [--jobs 2] [--timm 60] [--save]

Each model is trained from random weights in a healthy loop for two epochs of three steps (batches of 4, images as small
as the model takes, evaluation after each), watched in full. A FAIL is a false alarm; warnings are listed. One process
forked for each model. Models that the machine's memory or the time limit does not take are listed with the reason.

--save writes results/doctor_models.json.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from forked import Job, run
from protocol import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES, BATCH, SIDES = 10, 4, (32, 64, 96, 112, 128, 224, 299)
# One of each family of timm that has a small member, evenly over its list.
TIMM_FAMILIES = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timm", type=int, default=TIMM_FAMILIES)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--name", default="doctor_models", help="of the file of results")
    options = parser.parse_args()
    names = options.only or [*torchvision_names(), *timm_names(options.timm)]
    rows: dict[str, dict[str, Any]] = {}
    for done in run(
        (Job(name, partial(one, name), 0) for name in names), at_once=options.jobs, timeout=options.timeout
    ):
        try:
            row = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            why = "more than the time limit" if not done.in_time else (done.stderr.strip() or "killed").splitlines()[-1]
            row = {"could_not_run": why[:200]}
        rows[done.name] = row | {"cpu_seconds": done.cpu_seconds}
        print(done.name, row, f"{done.cpu_seconds} s", flush=True)
    ran = {name: row for name, row in rows.items() if "alarms" in row}
    result = {
        "ran": {kind: sum(is_timm(name) == (kind == "timm") for name in ran) for kind in ("torchvision", "timm")},
        "with_a_fail": sorted(name for name, row in ran.items() if "fail" in row["alarms"].values()),
        "with_a_warning": {n: row["alarms"] for n, row in sorted(ran.items()) if "warn" in row["alarms"].values()},
        "could_not_run": {name: row["could_not_run"] for name, row in sorted(rows.items()) if "could_not_run" in row},
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows.values()), 1),
        "models": {name: {"side": row["side"], "cpu_seconds": row["cpu_seconds"]} for name, row in sorted(ran.items())},
    }
    print(json.dumps({key: value for key, value in result.items() if key != "models"}, indent=2))
    if options.save:
        save(
            options.name,
            "Random weights, a healthy loop of two epochs of three steps (batches of 4, smallest of the sides "
            f"{SIDES} that the model takes, evaluation after each), watched in full. Bar: no FAIL.",
            result,
        )


def is_timm(name: str) -> bool:
    return name.startswith("timm/")


def torchvision_names() -> list[str]:
    """All classification models."""
    from torchvision import models

    return list(models.list_models(module=models))


def timm_names(count: int) -> list[str]:
    """The first name of each of `count` modules of timm, evenly over all modules that have one."""
    try:
        import timm
    except ImportError:
        return []
    firsts = [found[0] for module in sorted(timm.list_modules()) if (found := timm.list_models(module=module))]
    chosen = [firsts[int(place * len(firsts) / count)] for place in range(min(count, len(firsts)))]
    return [f"timm/{name}" for name in dict.fromkeys(chosen)]


def build(name: str, side: int) -> nn.Module:
    """The model with random weights; an image of `side` pixels may not suit it."""
    if is_timm(name):
        import timm

        try:
            made: nn.Module = timm.create_model(name.removeprefix("timm/"), num_classes=CLASSES, img_size=side)
        except TypeError:
            made = timm.create_model(name.removeprefix("timm/"), num_classes=CLASSES)
        return made
    from torchvision import models

    options: dict[str, Any] = {"num_classes": CLASSES}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True
    if name.startswith("vit_"):
        options["image_size"] = side
    return models.get_model(name, weights=None, **options)


def outputs_of(value: Any) -> Tensor:
    """The logits; googlenet and inception_v3 give auxiliary ones beside them."""
    return value if isinstance(value, Tensor) else value[0]


def fitting(name: str) -> tuple[nn.Module, int]:
    """The model, and the smallest side that it takes in training."""
    error: Exception | None = None
    for side in SIDES:
        try:
            torch.manual_seed(0)
            model = build(name, side)
            model.train()
            with torch.no_grad():
                outputs_of(model(torch.rand(BATCH, 3, side, side)))
            torch.manual_seed(0)
            return build(name, side), side
        except (RuntimeError, ValueError, AssertionError, IndexError) as found:
            error = found
    raise RuntimeError(f"no side fits: {error}")


def findings_of(name: str) -> dict[str, Any]:
    """What speaks after a healthy loop."""
    from truefit.doctor.checks import run_checks
    from truefit.doctor.watch import Watch

    model, side = fitting(name)
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (5 * BATCH,), generator=draw)
    images = torch.rand(5 * BATCH, 3, side, side, generator=draw) + labels[:, None, None, None] * 0.1
    training, held = TensorDataset(images[: 3 * BATCH], labels[: 3 * BATCH]), TensorDataset(images[12:], labels[12:])
    with Watch() as log:
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.001)
        loss_function = nn.CrossEntropyLoss()
        loaders = DataLoader(training, BATCH, shuffle=True), DataLoader(held, BATCH)
        for _ in range(2):
            model.train()
            for x, y in loaders[0]:
                optimizer.zero_grad()
                outputs = model(x)
                parts = [outputs] if isinstance(outputs, Tensor) else [one for one in outputs if one is not None]
                loss = loss_function(parts[0], y) + sum(0.3 * loss_function(part, y) for part in parts[1:])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for x, y in loaders[1]:
                    loss_function(outputs_of(model(x)), y)
    found = run_checks(log)
    broken = [f"{one.code}: {one.reason}" for one in found if "itself broke" in one.reason]
    return {"alarms": {f.code: f.outcome.value for f in found if f.speaks}, "broken": broken, "side": side}


def one(name: str) -> int:
    """In a child: print the row."""
    torch.set_num_threads(1)
    print(json.dumps(findings_of(name)))
    return 0


if __name__ == "__main__":
    main()
