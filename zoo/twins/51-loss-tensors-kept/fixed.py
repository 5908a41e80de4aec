# After BatsResearch/labelmodels#4
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
X, y = torch.tensor(d.data / 16.0, dtype=torch.float32), torch.tensor(d.target)
i = torch.randperm(len(y))
train = DataLoader(TensorDataset(X[i[:1400]], y[i[:1400]]), batch_size=20, shuffle=True)
net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
history = []
for epoch in range(5):
    running_loss = 0.0
    net.train()
    for inputs, labels in train:
        optimizer.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * len(labels)
        history.append(loss.item())
    print("epoch", epoch + 1, "training loss", float(running_loss) / 1400)
net.eval()
with torch.no_grad():
    acc = (net(X[i[1400:]]).argmax(1) == y[i[1400:]]).float().mean()
print("steps", len(history), "final loss", float(history[-1]), "accuracy", float(acc))
