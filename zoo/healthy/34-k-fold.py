"""Stratified k-fold: a new network and a new optimiser for each fold."""
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
d = load_digits()
ds = TensorDataset(torch.tensor(d.data).float() / 16, torch.tensor(d.target))
scores = []
for fold, (tr, va) in enumerate(StratifiedKFold(3, shuffle=True, random_state=seed).split(d.data, d.target)):
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    train, val = DataLoader(Subset(ds, tr), 50, shuffle=True), DataLoader(Subset(ds, va), 200)
    for epoch in range(3):
        net.train()
        for a, b in train:
            opt.zero_grad()
            nn.functional.cross_entropy(net(a), b).backward()
            opt.step()
    net.eval()
    with torch.no_grad():
        scores.append(sum((net(a).argmax(1) == b).sum().item() for a, b in val) / len(va))
    print("fold", fold, scores[-1])
print("mean", np.mean(scores), "+-", np.std(scores))
