"""A teacher in eval mode without gradients, a student on soft and hard targets."""
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def fit(net, loader, loss_fn, epochs, lr):
    opt = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(epochs):
        net.train()
        for a, b in loader:
            opt.zero_grad()
            loss = loss_fn(net(a), a, b)
            loss.backward()
            opt.step()


def score(net, loader):
    net.eval()
    with torch.no_grad():
        return sum((net(a).argmax(1) == b).sum().item() for a, b in loader) / len(loader.dataset)


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.data).float() / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
train, val = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 50, shuffle=True), DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 400)
teacher = nn.Sequential(nn.Linear(64, 200), nn.ReLU(), nn.Dropout(0.3), nn.Linear(200, 10))
fit(teacher, train, lambda out, a, b: F.cross_entropy(out, b), 6, 3e-3)
teacher.eval()


def distil(out, a, b, t=3.0, w=0.7):
    with torch.no_grad():
        soft = F.softmax(teacher(a) / t, dim=1)
    kd = F.kl_div(F.log_softmax(out / t, dim=1), soft, reduction="batchmean") * t * t
    return w * kd + (1 - w) * F.cross_entropy(out, b)


student = nn.Linear(64, 10)
fit(student, train, distil, 5, 1e-2)
print("teacher", score(teacher, val), "student", score(student, val))
