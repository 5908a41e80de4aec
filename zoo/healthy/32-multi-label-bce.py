"""Several labels a picture: BCE with logits, threshold at 0."""
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
g = torch.Generator().manual_seed(seed)


def make(n):
    y = (torch.rand(n, 4, generator=g) < 0.35).float()
    x = 0.6 * torch.randn(n, 1, 12, 12, generator=g)
    for k in range(4):
        x[:, 0, 3 * k : 3 * k + 3] += y[:, k, None, None] * 0.8
    return TensorDataset(x, y)


train, val = DataLoader(make(1000), 40, shuffle=True), DataLoader(make(300), 100)
net = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(300, 4))
loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.full((4,), 1.5))
opt = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(4):
    net.train()
    for a, b in train:
        opt.zero_grad()
        loss = loss_fn(net(a), b)
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        hits = sum(((net(a) > 0) == (b > 0.5)).sum().item() for a, b in val)
    print(epoch, loss.item(), hits / (300 * 4))
