"""Two stages: only the head, then everything with a smaller rate for the body."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        return self.head(self.body(x))


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.images[:, None]).float()[p] / 16, torch.tensor(d.target)[p]
net = Net()


def epoch(opt, frozen):
    net.train()
    if frozen:
        net.body.eval()
    for rows in torch.randperm(1400).split(50):
        opt.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print("accuracy", (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())


net.body.requires_grad_(False)
opt = torch.optim.SGD(net.head.parameters(), lr=0.05, momentum=0.9)
for _ in range(2):
    epoch(opt, True)
net.body.requires_grad_(True)
opt = torch.optim.SGD([{"params": net.head.parameters(), "lr": 0.05}, {"params": net.body.parameters(), "lr": 0.01}], lr=0.05, momentum=0.9)
for _ in range(2):
    epoch(opt, False)
