"""torchvision's CutMix in the collate function, soft targets."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torchvision.transforms import v2

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
cutmix = v2.CutMix(num_classes=10)


def collate(batch):
    return cutmix(*default_collate(batch))


train = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 50, shuffle=True, collate_fn=collate)
val = DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 100)
model = nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10))
opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(4):
    model.train()
    for a, b in train:
        loss = loss_fn(model(a), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
    model.eval()
    with torch.inference_mode():
        hits = sum((model(a).argmax(1) == b).sum().item() for a, b in val)
    print(epoch, round(loss.item(), 3), round(hits / 397, 3))
