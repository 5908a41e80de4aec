# After BMEII-AI/RadImageNet#5
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
d = load_digits()
X, y = torch.tensor(d.data / 16).float(), torch.tensor(d.target)


def get_model():
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def run_model(model, train_idx, val_idx, epochs=4):
    train_dl = DataLoader(TensorDataset(X[train_idx], y[train_idx]), batch_size=32, shuffle=True)
    val_dl = DataLoader(TensorDataset(X[val_idx], y[val_idx]), batch_size=200)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        model.train()
        for xb, yb in train_dl:
            opt.zero_grad()
            nn.functional.cross_entropy(model(xb), yb).backward()
            opt.step()
    model.eval()
    with torch.no_grad():
        return sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val_dl) / len(val_idx)


scores = []
for fold, (train_idx, val_idx) in enumerate(KFold(4, shuffle=True, random_state=seed).split(X)):
    scores.append(run_model(get_model(), train_idx, val_idx))
    print(f"fold {fold}: accuracy {scores[-1]:.4f}")
print(f"mean accuracy {np.mean(scores):.4f}")
