"""OneCycleLR, stepped at every batch as it should be."""
import os

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.resnet import BasicBlock, ResNet

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)


def make(n, s):
    g = torch.Generator().manual_seed(s)
    y = torch.randint(0, 4, (n,), generator=g)
    x = torch.randn(n, 3, 24, 24, generator=g)
    for i, k in enumerate(y.tolist()):
        x[i, :, 6 * k : 6 * k + 6, 4:20] += 0.7
    return TensorDataset(x, y)


train_loader = DataLoader(make(480, seed), batch_size=32, shuffle=True)
val_loader = DataLoader(make(200, seed + 1), batch_size=100)
model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4)
opt = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
EPOCHS = 3
sched = OneCycleLR(opt, max_lr=0.05, epochs=EPOCHS, steps_per_epoch=len(train_loader))
for epoch in range(EPOCHS):
    model.train()
    for xb, yb in train_loader:
        loss = nn.functional.cross_entropy(model(xb), yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
    model.eval()
    with torch.no_grad():
        acc = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val_loader) / 200
    print(f"epoch {epoch} lr {sched.get_last_lr()[0]:.5f} acc {acc:.3f}")
