"""Shifted copies are averaged at test time."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.images[:, None]).float()[p] / 16, torch.tensor(d.target)[p]
net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), 5e-3)
for epoch in range(4):
    net.train()
    for rows in torch.randperm(1400).split(50):
        batch = torch.roll(x[rows], int(torch.randint(-1, 2, ())), dims=3)
        opt.zero_grad()
        nn.functional.cross_entropy(net(batch), y[rows]).backward()
        opt.step()


@torch.inference_mode()
def tta(images):
    net.eval()
    return sum(net(torch.roll(images, s, dims=3)).softmax(1) for s in (-1, 0, 1)) / 3


print("tta accuracy", (tta(x[1400:]).argmax(1) == y[1400:]).float().mean().item())
