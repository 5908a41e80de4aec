# After Deci-AI/super-gradients#416
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

SEED = int(os.environ.get("SEED", 0))
COLOURS = {"banana": (225, 200, 40), "cherry": (190, 30, 50), "kiwi": (110, 160, 50), "plum": (100, 40, 120)}


def make_fruit(root, per_class, rng):
    for name, colour in COLOURS.items():
        folder = Path(root) / name
        folder.mkdir(parents=True)
        for i in range(per_class):
            img = rng.normal(128, 45, (24, 24, 3))
            y, x = rng.integers(2, 12, 2)
            img[y : y + 10, x : x + 10] = np.array(colour) + rng.normal(0, 45, (10, 10, 3))
            Image.fromarray(img.clip(0, 255).astype("uint8")).save(folder / f"{name}_{i:03d}.png")


def build_model(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, num_classes),
    )  # fmt: skip


def main():
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as root:
        make_fruit(f"{root}/train", 100, rng)
        make_fruit(f"{root}/val", 40, rng)
        to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
        train_set = ImageFolder(f"{root}/train", to_tensor)
        val_set = ImageFolder(f"{root}/val", to_tensor)
        train_loader = DataLoader(train_set, batch_size=16, num_workers=0)
        val_loader = DataLoader(val_set, batch_size=16, num_workers=0)

        model = build_model(len(train_set.classes))
        opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        loss_fn = nn.CrossEntropyLoss()
        for epoch in range(4):
            model.train()
            for xb, yb in train_loader:
                opt.zero_grad()
                loss = loss_fn(model(xb), yb)
                loss.backward()
                opt.step()
            model.eval()
            with torch.no_grad():
                good = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val_loader)
            print(f"epoch {epoch}: train loss {loss.item():.3f}  val acc {good / len(val_set):.3f}")


main()
