# After pytorch/pytorch#16045
import os
import warnings

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
torch.manual_seed(int(os.environ.get("SEED", 0)))

data = load_breast_cancer()
X = torch.tensor(StandardScaler().fit_transform(data.data), dtype=torch.float32)
y = torch.tensor(data.target, dtype=torch.float32)
order = torch.randperm(len(y))
train_ds = TensorDataset(X[order[:400]], y[order[:400]])
test_ds = TensorDataset(X[order[400:]], y[order[400:]])
train_dl = DataLoader(train_ds, batch_size=20, shuffle=True)

model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(8):
    model.train()
    epoch_loss = 0.0
    for xb, yb in train_dl:
        optimizer.zero_grad()
        out = model(xb)
        loss = criterion(out, yb.unsqueeze(1))
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * len(yb)
    print(f"Epoch {epoch:2d} | MSE {epoch_loss / len(train_ds):.4f}")

model.eval()
with torch.no_grad():
    guess = (model(test_ds.tensors[0])[:, 0] > 0.5).float()
print("test accuracy", (guess == test_ds.tensors[1]).float().mean().item())
