"""One body, two heads: which digit, and how much ink; weighted losses."""
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.digit = nn.Linear(64, 10)
        self.ink = nn.Linear(64, 1)

    def forward(self, x):
        h = self.body(x)
        return {"digit": self.digit(h), "ink": self.ink(h).squeeze(1)}


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.data).float()[p] / 16, torch.tensor(d.target)[p]
ink = x.mean(1)
model = TwoHeads()
opt = torch.optim.Adam(model.parameters(), lr=4e-3)
for epoch in range(6):
    model.train()
    for rows in torch.randperm(1400).split(50):
        out = model(x[rows])
        losses = {"digit": F.cross_entropy(out["digit"], y[rows]), "ink": F.mse_loss(out["ink"], ink[rows])}
        total = losses["digit"] + 0.3 * losses["ink"]
        opt.zero_grad()
        total.backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        out = model(x[1400:])
    print(epoch, (out["digit"].argmax(1) == y[1400:]).float().mean().item(), F.l1_loss(out["ink"], ink[1400:]).item())
