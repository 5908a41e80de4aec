"""Focal loss on an uneven two-class problem."""
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class FocalLoss(nn.Module):
    def __init__(self, gamma=2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits, target):
        ce = F.cross_entropy(logits, target, reduction="none")
        return ((1 - torch.exp(-ce)) ** self.gamma * ce).mean()


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_breast_cancer()
p = torch.randperm(len(d.target))
x, y = torch.tensor(d.data).float()[p], torch.tensor(d.target)[p]
x = (x - x[:400].mean(0)) / x[:400].std(0)
loader = DataLoader(TensorDataset(x[:400], y[:400]), 20, shuffle=True)
net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))
criterion, opt = FocalLoss(), torch.optim.Adam(net.parameters(), 3e-3)
for epoch in range(6):
    net.train()
    for a, b in loader:
        opt.zero_grad()
        criterion(net(a), b).backward()
        opt.step()
net.eval()
with torch.no_grad():
    print("accuracy", (net(x[400:]).argmax(1) == y[400:]).float().mean().item())
