# After fartashf/vsepp#4
import argparse
import os
import time

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset


class Shapes(Dataset):
    """Noisy pictures of bars: vertical, horizontal, diagonal, cross."""

    def __init__(self, n, seed):
        rng = np.random.RandomState(seed)
        self.y = rng.randint(0, 4, n)
        self.x = rng.normal(0, 0.6, (n, 1, 16, 16)).astype("float32")
        for i, k in enumerate(self.y):
            c = rng.randint(4, 12)
            if k in (0, 3):
                self.x[i, 0, :, c] += 1
            if k in (1, 3):
                self.x[i, 0, c, :] += 1
            if k == 2:
                self.x[i, 0, range(16), range(16)] += 1

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i]), int(self.y[i])


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(2 * width * 16, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(self.drop(x.flatten(1)))


def train(opt, train_loader, model, criterion, optimizer, epoch, val_loader):
    for i, (images, targets) in enumerate(train_loader):
        loss = criterion(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % opt.log_step == 0:
            print(f"Epoch: [{epoch}][{i}/{len(train_loader)}] Loss {loss.item():.4f}")
        if i and i % opt.val_step == 0:
            validate(val_loader, model)


def validate(val_loader, model):
    model.eval()
    hits = 0
    with torch.no_grad():
        for images, targets in val_loader:
            hits += int((model(images).max(1)[1] == targets).sum())
    print("Validation accuracy %.3f" % (hits / len(val_loader.dataset)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_epochs", default=3, type=int)
    parser.add_argument("--batch_size", default=32, type=int)
    parser.add_argument("--width", default=8, type=int)
    parser.add_argument("--learning_rate", default=2e-3, type=float)
    parser.add_argument("--log_step", default=15, type=int)
    parser.add_argument("--val_step", default=20, type=int)
    parser.add_argument("--seed", default=int(os.environ.get("SEED", 0)), type=int)
    opt = parser.parse_args()
    torch.manual_seed(opt.seed)

    train_loader = DataLoader(Shapes(1200, opt.seed + 1), batch_size=opt.batch_size, shuffle=True)
    val_loader = DataLoader(Shapes(300, opt.seed + 1000), batch_size=100)
    model = Net(opt.width)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=opt.learning_rate)
    start = time.time()
    for epoch in range(opt.num_epochs):
        train(opt, train_loader, model, criterion, optimizer, epoch, val_loader)
        validate(val_loader, model)
    print("done in %.1f s" % (time.time() - start))


if __name__ == "__main__":
    main()
