"""ImageFolder with worker processes, random transforms in training only, unshuffled validation."""
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

NORM = transforms.Normalize([0.45] * 3, [0.25] * 3)


def write(root, n, rng):
    for k, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pic = rng.normal(110, 50, (20, 20, 3))
            pic[..., k] += 35
            Image.fromarray(pic.clip(0, 255).astype("uint8")).save(root / name / f"{i}.png")


def main():
    seed = int(os.environ.get("SEED", 0))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as tmp:
        write(Path(tmp, "train"), 100, rng)
        write(Path(tmp, "val"), 40, rng)
        augment = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomCrop(20, 2), transforms.ToTensor(), NORM])
        plain = transforms.Compose([transforms.ToTensor(), NORM])
        train = DataLoader(datasets.ImageFolder(f"{tmp}/train", augment), 25, shuffle=True, num_workers=2, persistent_workers=True)
        val = DataLoader(datasets.ImageFolder(f"{tmp}/val", plain), 60, num_workers=1)
        net = nn.Sequential(nn.Conv2d(3, 12, 3, 2), nn.ReLU(), nn.Conv2d(12, 12, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3))
        opt = torch.optim.Adam(net.parameters(), 1e-2)
        for epoch in range(3):
            net.train()
            for a, b in train:
                opt.zero_grad()
                loss = nn.functional.cross_entropy(net(a), b)
                loss.backward()
                opt.step()
            net.eval()
            with torch.no_grad():
                print(epoch, sum((net(a).argmax(1) == b).sum().item() for a, b in val) / 120)


if __name__ == "__main__":
    main()
