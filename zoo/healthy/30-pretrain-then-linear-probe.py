"""Contrastive pretraining without labels, then a linear probe on the frozen encoder."""
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.images[:, None]).float()[p] / 16, torch.tensor(d.target)[p]
encoder = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(216, 64))
projector = nn.Sequential(nn.ReLU(), nn.Linear(64, 32))


def view(b):
    return b + 0.15 * torch.randn_like(b)


def nt_xent(a, b, t=0.2):
    z = F.normalize(torch.cat([a, b]), dim=1)
    sim = z @ z.T / t
    sim.fill_diagonal_(float("-inf"))
    n = len(a)
    return F.cross_entropy(sim, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


opt = torch.optim.Adam([*encoder.parameters(), *projector.parameters()], lr=2e-3)
for epoch in range(2):
    encoder.train()
    for rows in torch.randperm(1400).split(100):
        loss = nt_xent(projector(encoder(view(x[rows]))), projector(encoder(view(x[rows]))))
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("pretrain", epoch, loss.item())
encoder.eval().requires_grad_(False)
probe = nn.Linear(64, 10)
popt = torch.optim.Adam(probe.parameters(), lr=2e-2)
for epoch in range(4):
    for rows in torch.randperm(1400).split(100):
        loss = F.cross_entropy(probe(encoder(x[rows])), y[rows])
        popt.zero_grad()
        loss.backward()
        popt.step()
with torch.no_grad():
    print("probe accuracy", (probe(encoder(x[1400:])).argmax(1) == y[1400:]).float().mean().item())
