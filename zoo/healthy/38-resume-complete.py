"""Stopped and resumed with model, optimiser, schedule and epoch."""
import os
import sys
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(path, until):
    d = load_digits()
    x, y = torch.tensor(d.data).float() / 16, torch.tensor(d.target)
    loader, val = DataLoader(TensorDataset(x[:1400], y[:1400]), 50, shuffle=True), DataLoader(TensorDataset(x[1400:], y[1400:]), 200)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    opt = torch.optim.AdamW(net.parameters(), lr=8e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.7)
    start = 0
    if os.path.exists(path):
        ckpt = torch.load(path)
        net.load_state_dict(ckpt["model"])
        opt.load_state_dict(ckpt["optimizer"])
        sched.load_state_dict(ckpt["scheduler"])
        torch.set_rng_state(ckpt["rng"])
        start = ckpt["epoch"] + 1
        print("resumed at epoch", start)
    for epoch in range(start, until):
        net.train()
        for a, b in loader:
            opt.zero_grad()
            nn.functional.cross_entropy(net(a), b).backward()
            opt.step()
        sched.step()
        net.eval()
        with torch.no_grad():
            acc = sum((net(a).argmax(1) == b).sum().item() for a, b in val) / 397
        print(epoch, f"{acc:.4f}")
        state = {"model": net.state_dict(), "optimizer": opt.state_dict(), "scheduler": sched.state_dict()}
        torch.save({**state, "rng": torch.get_rng_state(), "epoch": epoch}, path)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    with tempfile.TemporaryDirectory() as folder:
        train(f"{folder}/last.pt", 3)
        train(f"{folder}/last.pt", 5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
