"""An uneven data set, drawn evenly: a weight a sample."""
import os

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
rng = np.random.default_rng(seed)


def make(counts):
    y = np.repeat(np.arange(4), counts)
    x = rng.normal(0, 1, (len(y), 24)).astype("float32")
    x[np.arange(len(y)), 6 * y] += 2.5
    return torch.from_numpy(x), torch.from_numpy(y)


xt, yt = make([600, 200, 80, 40])
xv, yv = make([80, 80, 80, 80])
weights = 1.0 / torch.bincount(yt).double()
sampler = WeightedRandomSampler(weights[yt], len(yt), replacement=True)
loader = DataLoader(TensorDataset(xt, yt), 40, sampler=sampler)
net = nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 4))
opt = torch.optim.Adam(net.parameters(), 3e-3)
for epoch in range(5):
    net.train()
    for a, b in loader:
        opt.zero_grad()
        nn.functional.cross_entropy(net(a), b).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(epoch, (net(xv).argmax(1) == yv).float().mean().item())
