"""How much slower are watched steps, and how long does the check of a script take?

    python benchmarks/doctor_cost.py [--rounds 7] [--steps 60] [--save]

1. Steps of a hand-written loop with a DataLoader, alone and watched as by `doctor run --full`, in rounds that alternate
   in one process: seconds from the first step to the last, as a ratio a round. ConvNet and ResNet-18 on images of
   CIFAR-10's size, and an MLP whose steps are so short that the watch weighs most.
2. `truefit doctor run` on a script of CIFAR-10's size (50,000 images of 32 x 32, ResNet-18, batches of 128, ten
   epochs): seconds from start to end, as a user waits.

--save writes results/doctor_cost.json.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from protocol import median_interval, save
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from truefit import ConvNet
from truefit.doctor.watch import Watch

WARM_UP = 5
SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

torch.manual_seed(0)
labels = torch.randint(10, (60000,))
images = torch.rand(60000, 3, 32, 32) + labels[:, None, None, None] * 0.02
train_loader = DataLoader(TensorDataset(images[:50000], labels[:50000]), 128, shuffle=True)
valid_loader = DataLoader(TensorDataset(images[50000:], labels[50000:]), 256)
model, loss_function = resnet18(num_classes=10), nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(10):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    hits = 0
    with torch.no_grad():
        for x, y in valid_loader:
            hits += (model(x).argmax(1) == y).sum().item()
    print(epoch, hits / 10000)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    steps = {name: ratios(make, options.rounds, options.steps) for name, make in MODELS.items()}
    print(steps)
    seconds = [seconds_of_a_check() for _ in range(max(1, options.rounds // 3))]
    result = {"watched_by_alone": steps, "check_of_a_script_seconds": seconds}
    print(result)
    if options.save:
        save(
            "doctor_cost",
            f"Interleaved rounds in one process, {options.rounds} of {options.steps} steps each way after {WARM_UP} "
            "(the first 20 to 30 steps of a watched program are looked at more closely, and count): time watched by "
            "time alone, median of the rounds and its 95 % bootstrap interval. Bar: below 1.3. Check of a script: wall "
            "seconds of truefit doctor run with its defaults. Bar: below 60.",
            result,
        )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 128), nn.ReLU(), nn.Linear(128, 10))


def resnet() -> nn.Module:
    from torchvision.models import resnet18

    model: nn.Module = resnet18(num_classes=10)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {"convnet": ConvNet, "resnet18": resnet, "mlp": mlp}


def ratios(make: Callable[[], nn.Module], rounds: int, steps: int) -> dict[str, Any]:
    """Watched by alone: the ratio of each round, their median and its interval."""
    found = []
    for number in range(rounds):
        order = (True, False) if number % 2 else (False, True)
        seconds = {watched: seconds_of(make, steps, watched) for watched in order}
        found.append(seconds[True] / seconds[False])
    return {"median": statistics.median(found), "interval": median_interval(found), "rounds": found}


def seconds_of(make: Callable[[], nn.Module], steps: int, watched: bool) -> float:
    """From the end of the warm-up to the last of so many steps."""
    torch.manual_seed(0)
    labels = torch.randint(10, (64 * (steps + WARM_UP),))
    images = torch.rand(len(labels), 3, 32, 32)
    with Watch() if watched else nullcontext():
        model, loss_function = make(), nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        begin = 0.0
        for step, (x, y) in enumerate(DataLoader(TensorDataset(images, labels), 64, shuffle=True)):
            if step == WARM_UP:
                begin = time.perf_counter()
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
        return time.perf_counter() - begin


def seconds_of_a_check() -> float:
    """One `truefit doctor run`, its start-up included."""
    command = "import sys; from truefit.commands import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(SCRIPT)
        begin = time.perf_counter()
        words = [sys.executable, "-c", command, "doctor", "run", str(script)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return round(seconds, 2)


if __name__ == "__main__":
    main()
