"""Do damaged and forged files of a run ever give anything but a run or an InputError?

    python benchmarks/fuzz_readers.py [--seconds 300] [--seed 0]

Changes config.json, history.jsonl, model.json, evaluation.json, predictions.npz and a checkpoint of a small run, by
bytes and by values of the JSON in them (a checkpoint also with its checksum put right again), and reads them.
Writes results/fuzz_readers.json; ends with the first file that gives another error, or takes over 10 seconds.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from protocol import save
from torch import nn
from torch.utils.data import TensorDataset

from truefit import InputError, Recipe, Run, Trainer, load
from truefit.checkpoint.container import DIGEST_BYTES, MAGIC, read_container
from truefit.checkpoint.tree import unflatten
from truefit.recipes.recipe import ScheduleConfig

FILES = ["config.json", "history.jsonl", "model/model.json", "evaluation.json", "predictions.npz", "checkpoint"]
VALUES = [None, True, 0, -1, 2**70, 1e308, float("inf"), "", "x" * 1000, "\ud800", "../..", [], {}, [[]], {"a": 1}]


def small_run(folder: Path) -> None:
    """A run with a checkpoint left in it."""
    images = TensorDataset(torch.randn(12, 3, 4, 4), torch.arange(12) % 3)
    how = Recipe(epochs=2, batch_size=4, schedule=ScheduleConfig(name="constant"))
    Trainer(network(), how).fit(images, images, out=folder)


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def try_once(folder: Path, name: str, draw: random.Random) -> str:
    """Change a file, read it, put it back. Gives "read" or "refused"; any other error gets out."""
    path = next(folder.glob("checkpoints/*.checkpoint")) if name == "checkpoint" else folder / name
    whole = path.read_bytes()
    try:
        path.write_bytes(changed(whole, draw, checkpoint=name == "checkpoint"))
        try:
            if name == "checkpoint":
                plain, tensors = read_container(path)
                unflatten(plain, tensors, torch.device("cpu"))
            else:
                found: Run = load(folder, network=network())
                assert len(found.history) >= 0
        except InputError:
            return "refused"
        return "read"
    finally:
        path.write_bytes(whole)


def changed(whole: bytes, draw: random.Random, *, checkpoint: bool) -> bytes:
    head = len(MAGIC) + DIGEST_BYTES if checkpoint else 0
    body = bytearray(whole[head:])
    kind = draw.randrange(4)
    if kind == 0:
        body = body[: draw.randrange(len(body))]
    elif kind == 1:
        for _ in range(draw.randrange(1, 9)):
            body[draw.randrange(len(body))] = draw.randrange(256)
    elif kind == 2:
        place = draw.randrange(len(body))
        body[place:place] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 20)))
    elif not checkpoint and body[:1] == b"{":
        lines = [json.loads(line) for line in ([body] if body.count(b"\n{") == 0 else body.splitlines())]
        change_value(draw.choice(lines), draw)
        body = bytearray("\n".join(map(json.dumps, lines)).encode())
    if checkpoint and draw.random() < 0.9:
        return MAGIC + hashlib.sha256(body).digest() + bytes(body)
    return whole[:head] + bytes(body)


def change_value(tree: Any, draw: random.Random) -> None:
    """Put another value, or nothing, somewhere in the tree."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        return
    key = draw.choice(keys)
    if isinstance(tree[key], dict | list) and tree[key] and draw.random() < 0.7:
        change_value(tree[key], draw)
    elif draw.random() < 0.2:
        del tree[key]
    else:
        tree[key] = draw.choice(VALUES)


def fuzz(seconds: float, seed: int) -> dict[str, dict[str, int]]:
    """What came of each file: how often it was read, and refused."""
    draw = random.Random(seed)
    told: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in FILES}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        small_run(folder)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = draw.choice(FILES)
            start = time.monotonic()
            told[name][try_once(folder, name, draw)] += 1
            if time.monotonic() - start > 10:
                sys.exit(f"{name}: reading took {time.monotonic() - start:.0f} seconds")
    return {name: dict(counts) for name, counts in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    told = fuzz(options.seconds, options.seed)
    print(told)
    save(
        "fuzz_readers",
        f"{options.seconds:.0f} seconds of files of a small run changed at random (seed {options.seed}); every one "
        "was read or refused with InputError, none gave another error",
        {"files": told},
    )


if __name__ == "__main__":
    main()
