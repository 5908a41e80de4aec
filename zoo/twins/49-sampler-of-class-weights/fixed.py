# After deep-voice/soundbay#49
import os
from collections import Counter

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
rng = np.random.default_rng(seed)


def calls(counts):
    """Spectra of whale calls; background is far more frequent."""
    y = rng.permutation(np.repeat(np.arange(3), counts))
    x = rng.normal(0, 1, (len(y), 32))
    for k in range(3):
        x[y == k, 8 * k : 8 * k + 10] += 0.9
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


x_train, y_train = calls([900, 200, 100])
x_val, y_val = calls([150, 150, 150])
counts = Counter(y_train.tolist())
class_weights = [1.0 / counts[k] for k in range(3)]
sampler = WeightedRandomSampler([class_weights[k] for k in y_train.tolist()], num_samples=len(y_train))
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=40, sampler=sampler)
val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=150)

model = nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(4):
    model.train()
    for xb, yb in train_loader:
        loss = nn.functional.cross_entropy(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val_loader)
    print(f"epoch {epoch}, loss {loss.item():.4f}, balanced accuracy {right / 450:.4f}")
