# After NVIDIA-Merlin/NVTabular#815
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.data).float() / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
train_dl = DataLoader(TensorDataset(x[p[:1300]], y[p[:1300]]), batch_size=50, shuffle=True)
valid_dl = DataLoader(TensorDataset(x[p[1300:]], y[p[1300:]]), batch_size=250)
model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def process_epoch(dataloader, train):
    model.train(train)
    hits = 0
    for xb, yb in dataloader:
        with torch.set_grad_enabled(train):
            with torch.autocast("cpu", dtype=torch.float16):
                logits = model(xb)
                loss = nn.functional.cross_entropy(logits, yb)
            if train:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        hits += (logits.argmax(1) == yb).sum().item()
    return loss.item(), hits / len(dataloader.dataset)


for epoch in range(4):
    train_loss, train_acc = process_epoch(train_dl, True)
    valid_loss, valid_acc = process_epoch(valid_dl, False)
    print(f"Epoch {epoch:02d}. Train loss: {train_loss:.4f} acc: {train_acc:.4f}. Valid acc: {valid_acc:.4f}")
