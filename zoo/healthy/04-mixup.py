"""mixup with interpolated losses; accuracy measured on clean validation pictures."""
import os

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
np.random.seed(seed)


def mixup_data(x, y, alpha=1.0):
    lam = np.random.beta(alpha, alpha) if alpha > 0 else 1
    index = torch.randperm(x.size(0))
    return lam * x + (1 - lam) * x[index], y, y[index], lam


def mixup_criterion(criterion, pred, y_a, y_b, lam):
    return lam * criterion(pred, y_a) + (1 - lam) * criterion(pred, y_b)


d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
trainloader = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 64, shuffle=True)
testloader = DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 100)
net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
for epoch in range(4):
    net.train()
    correct = total = 0.0
    for inputs, targets in trainloader:
        inputs, a, b, lam = mixup_data(inputs, targets)
        outputs = net(inputs)
        loss = mixup_criterion(criterion, outputs, a, b, lam)
        predicted = outputs.argmax(1)
        total += targets.size(0)
        correct += lam * predicted.eq(a).sum().item() + (1 - lam) * predicted.eq(b).sum().item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        acc = sum(net(i).argmax(1).eq(t).sum().item() for i, t in testloader) / 397
    print(f"epoch {epoch}: mixed train acc {correct / total:.3f}, test acc {acc:.3f}")
