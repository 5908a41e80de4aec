# After BatteryDEV/AutoECM#13
import os

import numpy as np
import torch
import torch.nn as nn
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import resample
from torch.utils.data import DataLoader, TensorDataset

SEED = int(os.environ.get("SEED", 0))
np.random.seed(SEED)
torch.manual_seed(SEED)

# ---------------------------------------------------------------- spectra of four circuits, unevenly many
COUNTS = {"L-R": 420, "RC-RC": 160, "RCPE": 90, "Rs_Ws": 60}
freq = np.linspace(0, 3, 40)


def spectrum(kind):
    a, b = np.random.uniform(0.5, 2, 2)
    if kind == "L-R":
        z = a * freq + b
    elif kind == "RC-RC":
        z = a / (1 + freq**2) + b / (1 + (3 * freq) ** 2)
    elif kind == "RCPE":
        z = a / (1 + freq**0.8)
    else:
        z = a * np.sqrt(freq + 0.05)
    return z + np.random.normal(0, 0.25, len(freq))


X, names = [], []
for kind, count in COUNTS.items():
    for _ in range(count):
        X.append(spectrum(kind))
        names.append(kind)
X = np.array(X, dtype=np.float32)
le = LabelEncoder()
y = le.fit_transform(names)


def oversample(X, y):
    biggest = np.bincount(y).max()
    parts = [resample(X[y == c], n_samples=biggest, replace=True, random_state=SEED) for c in np.unique(y)]
    return np.concatenate(parts), np.repeat(np.unique(y), biggest)


X, y = oversample(X, y)
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.25, random_state=SEED, stratify=y)
mean, std = X_train.mean(0), X_train.std(0)
train_ds = TensorDataset(torch.from_numpy((X_train - mean) / std), torch.from_numpy(y_train))
val_ds = TensorDataset(torch.from_numpy((X_val - mean) / std), torch.from_numpy(y_val))
train_dl = DataLoader(train_ds, batch_size=64, shuffle=True)
val_dl = DataLoader(val_ds, batch_size=256)

net = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
loss_fn = nn.CrossEntropyLoss()

for epoch in range(6):
    net.train()
    for xb, yb in train_dl:
        optimizer.zero_grad()
        loss = loss_fn(net(xb), yb)
        loss.backward()
        optimizer.step()
    net.eval()
    correct = np.zeros(4)
    total = np.zeros(4)
    with torch.no_grad():
        for xb, yb in val_dl:
            hit = (net(xb).argmax(1) == yb).numpy()
            for c in range(4):
                correct[c] += hit[yb.numpy() == c].sum()
                total[c] += (yb.numpy() == c).sum()
    print(f"epoch {epoch + 1}  val acc {correct.sum() / total.sum():.4f}  balanced {np.mean(correct / total):.4f}")
