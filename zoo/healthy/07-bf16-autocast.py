"""Automatic mixed precision on the CPU: bfloat16 needs no scaler, which is there but disabled."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.amp import GradScaler, autocast
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(os.environ.get("SEED", 0)))
device = "cuda" if torch.cuda.is_available() else "cpu"
use_scaler = device == "cuda"
d = load_digits()
x, y = torch.tensor(d.images[:, None]).float() / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
train = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 50, shuffle=True)
val = DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 100)
net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)).to(device)
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
scaler = GradScaler(device, enabled=use_scaler)
for epoch in range(4):
    net.train()
    for a, b in train:
        opt.zero_grad(set_to_none=True)
        with autocast(device, dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(net(a.to(device)), b.to(device))
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(opt)
        scaler.update()
    net.eval()
    with torch.no_grad():
        acc = sum((net(a.to(device)).argmax(1).cpu() == b).sum().item() for a, b in val) / len(val.dataset)
    print(f"{epoch} {loss.item():.4f} {acc:.4f}")
