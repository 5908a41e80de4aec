"""A training script in parts, which tests change; and what speaks of a watched one."""

from __future__ import annotations

from truefit.doctor.script import Watched

SETUP = """
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, Subset, random_split
torch.manual_seed(0)
g = torch.Generator().manual_seed(1)
y = torch.randint(4, (240,), generator=g)
x = torch.rand(240, 3, 8, 8, generator=g) + y[:, None, None, None] * 0.1
data = TensorDataset(x[:160], y[:160])
held = TensorDataset(x[160:], y[160:])
def net(*tail):
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                         nn.Flatten(), nn.Dropout(0.1), nn.Linear(24, 4), *tail)
def loaders():
    return DataLoader(data, 16, shuffle=True), DataLoader(held, 16)
"""
LOOP = """
model, loss_function = net(), nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
train_loader, valid_loader = loaders()
for epoch in range(2):
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    total = hits = 0
    with torch.no_grad():
        for images, labels in valid_loader:
            outputs = model(images)
            total += loss_function(outputs, labels).item() * len(images)
            hits += (outputs.argmax(1) == labels).sum().item()
    print(f"{total / 80:.6f} {hits / 80:.6f}")
"""


def alarms(watched: Watched) -> dict[str, str]:
    """Code and outcome of everything that speaks."""
    broken = [finding for finding in watched.findings if "itself broke" in finding.reason]
    assert not broken, broken
    return {finding.code: finding.outcome.value for finding in watched.findings if finding.speaks}
