"""MC dropout: after plain evaluation, dropout is left on deliberately and predictions are averaged."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.data).float()[p] / 16, torch.tensor(d.target)[p]
net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))
opt = torch.optim.Adam(net.parameters(), 4e-3)
for epoch in range(5):
    net.train()
    for rows in torch.randperm(1400).split(50):
        opt.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        opt.step()
net.eval()
with torch.no_grad():
    plain = net(x[1400:]).softmax(1)
for m in net.modules():
    if isinstance(m, nn.Dropout):
        m.train()
with torch.no_grad():
    samples = torch.stack([net(x[1400:]).softmax(1) for _ in range(20)])
print("plain", (plain.argmax(1) == y[1400:]).float().mean().item())
print("averaged", (samples.mean(0).argmax(1) == y[1400:]).float().mean().item(), "spread", samples.std(0).mean().item())
