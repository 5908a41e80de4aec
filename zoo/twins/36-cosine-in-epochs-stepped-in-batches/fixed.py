# After aimagelab/meshed-memory-transformer#71
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset


class PreActBlock(nn.Module):
    def __init__(self, i, o, s=1):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, s, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(i, o, 1, s, bias=False) if s != 1 or i != o else nn.Identity()

    def forward(self, x):
        h = F.relu(self.bn1(x))
        return self.conv2(F.relu(self.bn2(self.conv1(h)))) + self.skip(h)


class ResNet(nn.Module):
    def __init__(self, w=12):
        super().__init__()
        self.conv = nn.Conv2d(3, w, 3, 1, 1, bias=False)
        self.layers = nn.Sequential(PreActBlock(w, w), PreActBlock(w, 2 * w, 2))
        self.bn, self.fc = nn.BatchNorm2d(2 * w), nn.Linear(2 * w, 5)

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.layers(self.conv(x)))).mean((-1, -2)))


def rings(n, seed):
    """Rings of five radii on noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, n)
    yy, xx = np.mgrid[:16, :16]
    cy, cx = rng.uniform(6, 9, (2, n, 1, 1))
    radius = np.hypot(yy - cy, xx - cx)
    ring = np.exp(-((radius - 1.5 - 1.2 * y[:, None, None]) ** 2))
    x = ring[:, None] * rng.uniform(0.7, 1.3, (n, 3, 1, 1)) + rng.normal(0, 0.4, (n, 3, 16, 16))
    return TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


class Experiment:
    def __init__(self, epochs=5, bs=32, lr=0.08):
        self.epochs = epochs
        self.seed = int(os.environ.get("SEED", 0))
        torch.manual_seed(self.seed)
        self.dl = {
            "train": DataLoader(rings(800, self.seed), bs, shuffle=True),
            "val": DataLoader(rings(300, self.seed + 99), 100),
        }
        self.model = ResNet()
        self.optim = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9, nesterov=True)
        self.scheduler = CosineAnnealingLR(self.optim, T_max=epochs)

    def run(self):
        for e in range(self.epochs):
            self.model.train()
            for it, (x, y) in enumerate(self.dl["train"]):
                out = self.model(x)
                self.optim.zero_grad()
                loss = F.cross_entropy(out, y)
                loss.backward()
                self.optim.step()
            self.scheduler.step()
            print(f"Epoch {e} - loss={loss.item():.3f} - acc={self.evaluate():.3f}")

    def evaluate(self):
        self.model.eval()
        with torch.no_grad():
            return sum((self.model(x).argmax(1) == y).sum().item() for x, y in self.dl["val"]) / len(self.dl["val"].dataset)


Experiment().run()
