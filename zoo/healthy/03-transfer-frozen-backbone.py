"""Transfer: backbone frozen and kept in eval mode, a new head is trained."""
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
g = torch.Generator().manual_seed(seed)


def make(n):
    y = torch.randint(0, 3, (n,), generator=g)
    x = torch.randn(n, 3, 32, 32, generator=g)
    for i, k in enumerate(y.tolist()):
        x[i, k] += 1.0
    return TensorDataset(x, y)


model = resnet18(weights=None)
for param in model.parameters():
    param.requires_grad = False
model.fc = nn.Linear(model.fc.in_features, 3)
train_dl, val_dl = DataLoader(make(300), 30, shuffle=True), DataLoader(make(100), 50)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.fc.parameters(), lr=0.01)
for epoch in range(3):
    model.eval()
    model.fc.train()
    for x, y in train_dl:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        acc = sum((model(x).argmax(1) == y).sum().item() for x, y in val_dl) / 100
    print(f"epoch {epoch} loss {loss.item():.3f} val acc {acc:.3f}")
