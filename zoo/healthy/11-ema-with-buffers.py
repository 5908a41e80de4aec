"""Exponential moving average of weights and buffers, evaluated beside the model."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        return sum((net(a).argmax(1) == b).sum().item() for a, b in loader) / len(loader.dataset)


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.images[:, None]).float() / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
train, val = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 32, shuffle=True), DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 100)
net = nn.Sequential(nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.SiLU(), nn.Conv2d(12, 24, 3), nn.BatchNorm2d(24), nn.SiLU(), nn.Flatten(), nn.Linear(384, 10))
ema = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
for epoch in range(4):
    net.train()
    for a, b in train:
        loss = nn.functional.cross_entropy(net(a), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
        ema.update_parameters(net)
    print(epoch, round(accuracy(net, val), 4), round(accuracy(ema, val), 4))
