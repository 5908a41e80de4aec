# After LAMDA-Tabular/TALENT#92
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class SmoothL1(nn.Module):
    def forward(self, preds, labels):
        return F.smooth_l1_loss(preds, labels)


def make(n, seed):
    r = np.random.default_rng(seed)
    y = r.integers(0, 2, n)
    x = r.normal(0, 0.7, (n, 1, 14, 14))
    x[:, 0, 3:11, 3:11] += np.where(y == 1, 0.5, -0.5)[:, None, None]
    return TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))


class Method:
    def __init__(self, seed):
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 1)
        )
        self.criterion = SmoothL1()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.train_loader = DataLoader(make(600, seed), 30, shuffle=True)
        self.val_loader = DataLoader(make(200, seed + 1), 50)

    def fit(self, max_epoch):
        for epoch in range(max_epoch):
            self.train_epoch(epoch)
            self.validate(epoch)

    def train_epoch(self, epoch):
        self.model.train()
        for X, y in self.train_loader:
            loss = self.criterion(self.model(X), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        print("epoch {} loss={:.4f}".format(epoch, loss.item()))

    def validate(self, epoch):
        self.model.eval()
        with torch.no_grad():
            hits = sum(((self.model(X)[:, 0] > 0.5) == (y > 0.5)).sum().item() for X, y in self.val_loader)
        print("epoch {} accuracy={:.4f}".format(epoch, hits / 200))


if __name__ == "__main__":
    Method(int(os.environ.get("SEED", 0))).fit(4)
