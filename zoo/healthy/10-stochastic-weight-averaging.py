"""Stochastic weight averaging: AveragedModel, SWALR, update_bn."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.images[:, None]).float() / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
loader = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 50, shuffle=True)
test_loader = DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 100)
model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
swa_model = AveragedModel(model)
swa_start = 3
swa_scheduler = SWALR(optimizer, swa_lr=0.05, anneal_epochs=1)
for epoch in range(6):
    model.train()
    for inputs, target in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), target).backward()
        optimizer.step()
    if epoch >= swa_start:
        swa_model.update_parameters(model)
        swa_scheduler.step()
update_bn(loader, swa_model)
swa_model.eval()
with torch.no_grad():
    print("swa accuracy", sum((swa_model(a).argmax(1) == b).sum().item() for a, b in test_loader) / 397)
