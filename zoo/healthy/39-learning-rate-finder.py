"""A range test on a copy of the network, then training at the rate found."""
import copy
import os

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.data).float()[p] / 16, torch.tensor(d.target)[p]
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def find_lr(net, lo=1e-4, hi=10.0, steps=50):
    probe = copy.deepcopy(net)
    opt = torch.optim.SGD(probe.parameters(), lr=lo)
    history = []
    probe.train()
    for i in range(steps):
        lr = lo * (hi / lo) ** (i / (steps - 1))
        opt.param_groups[0]["lr"] = lr
        rows = torch.randint(0, 1400, (64,))
        loss = nn.functional.cross_entropy(probe(x[rows]), y[rows])
        if history and loss.item() > 4 * history[0][1]:
            break
        opt.zero_grad()
        loss.backward()
        opt.step()
        history.append((lr, loss.item()))
    return min(history, key=lambda h: h[1])[0] / 3


lr = find_lr(net)
print("rate", lr)
opt = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.5)
for epoch in range(5):
    net.train()
    for rows in torch.randperm(1400).split(50):
        opt.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(epoch, (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())
