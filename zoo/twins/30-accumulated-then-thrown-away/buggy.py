# After ultralytics/ultralytics#11217
import os
from pathlib import Path
from types import SimpleNamespace

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

default_cfg = SimpleNamespace(epochs=4, batch=16, nbs=64, lr0=0.08, momentum=0.9, weight_decay=5e-4, seed=int(os.environ.get("SEED", 0)))


class Conv(nn.Module):
    def __init__(self, c1, c2, k=3, s=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class ClassificationModel(nn.Module):
    def __init__(self, nc=10):
        super().__init__()
        self.model = nn.Sequential(Conv(1, 16), Conv(16, 32, s=2), Conv(32, 48, s=2))
        self.linear = nn.Linear(48, nc)

    def forward(self, x):
        return self.linear(self.model(x).mean((2, 3)))


class BaseTrainer:
    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)
        d = load_digits()
        x, y = torch.tensor(d.images / 16).float().unsqueeze(1), torch.tensor(d.target)
        i = torch.randperm(len(y))
        self.train_loader = DataLoader(TensorDataset(x[i[:1408]], y[i[:1408]]), args.batch, shuffle=True)
        self.test_loader = DataLoader(TensorDataset(x[i[1408:]], y[i[1408:]]), 2 * args.batch)
        self.model = ClassificationModel()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), args.lr0, momentum=args.momentum, nesterov=True, weight_decay=args.weight_decay
        )
        self.accumulate = max(round(args.nbs / args.batch), 1)
        self.criterion = nn.CrossEntropyLoss()

    def train(self):
        ni = 0
        for epoch in range(self.args.epochs):
            self.model.train()
            for img, cls in self.train_loader:
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(img), cls) / self.accumulate
                loss.backward()
                ni += 1
                if ni % self.accumulate == 0:
                    self.optimizer.step()
            print(f"{epoch + 1}/{self.args.epochs}  loss {loss.item() * self.accumulate:.3f}  top1 {self.validate():.4f}")

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        return sum((self.model(im).argmax(1) == c).sum().item() for im, c in self.test_loader) / len(self.test_loader.dataset)


if __name__ == "__main__":
    print(Path(__file__).stem)
    BaseTrainer(default_cfg).train()
