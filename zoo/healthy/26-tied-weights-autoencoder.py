"""Tied weights: the decoder is the encoder transposed; a classifier on the code is trained along."""
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Tied(nn.Module):
    def __init__(self, code=32):
        super().__init__()
        self.enc = nn.Linear(64, code)
        self.dec_bias = nn.Parameter(torch.zeros(64))
        self.cls = nn.Linear(code, 10)

    def forward(self, x):
        h = F.relu(self.enc(x))
        return F.linear(h, self.enc.weight.t(), self.dec_bias), self.cls(h)


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.data).float()[p] / 16, torch.tensor(d.target)[p]
net = Tied()
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(6):
    net.train()
    for rows in torch.randperm(1400).split(50):
        rec, out = net(x[rows])
        loss = F.mse_loss(rec, x[rows]) + F.cross_entropy(out, y[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(epoch, loss.item(), (net(x[1400:])[1].argmax(1) == y[1400:]).float().mean().item())
