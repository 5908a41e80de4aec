"""Gradient accumulation, divided, with a step for the rest at the end of the epoch."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ACCUM = 4
torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.data).float() / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
loader = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(64, 80), nn.GELU(), nn.Linear(80, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
criterion = nn.CrossEntropyLoss()
for epoch in range(5):
    model.train()
    optimizer.zero_grad()
    batches = len(loader)
    for i, (a, b) in enumerate(loader):
        window = ACCUM if i < batches - batches % ACCUM else batches % ACCUM
        loss = criterion(model(a), b) / window
        loss.backward()
        if (i + 1) % ACCUM == 0 or i + 1 == batches:
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        print(epoch, (model(x[p[1400:]]).argmax(1) == y[p[1400:]]).float().mean().item())
