"""Linear warm-up and cosine decay per epoch with SequentialLR; decay on weights only."""
import os
import warnings

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore", message=".*epoch parameter.*")


def split_decay(model, wd):
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decay, "weight_decay": wd}, {"params": rest, "weight_decay": 0.0}]


def main(epochs=6):
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    d = load_digits()
    x, y = torch.tensor(d.images[:, None]).float() / 8 - 1, torch.tensor(d.target)
    p = torch.randperm(len(y))
    train = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 64, shuffle=True)
    val = DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 200)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10)
    )
    opt = torch.optim.AdamW(split_decay(net, 0.05), lr=1e-2)
    sched = SequentialLR(opt, [LinearLR(opt, 0.1, total_iters=2), CosineAnnealingLR(opt, epochs - 2)], milestones=[2])
    for epoch in range(epochs):
        net.train()
        for a, b in train:
            opt.zero_grad()
            nn.functional.cross_entropy(net(a), b, label_smoothing=0.1).backward()
            opt.step()
        net.eval()
        with torch.no_grad():
            acc = sum((net(a).argmax(1) == b).sum().item() for a, b in val) / len(val.dataset)
        print(f"{epoch} lr {opt.param_groups[0]['lr']:.4f} acc {acc:.4f}")
        sched.step()


main()
