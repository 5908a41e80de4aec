# After ultralytics/ultralytics#8753
import os

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.resnet import BasicBlock, ResNet

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)


def textures(n, shift, classes, g):
    y = torch.randint(0, classes, (n,), generator=g)
    x = torch.randn(n, 3, 20, 20, generator=g) + shift
    for i, k in enumerate(y.tolist()):
        x[i, k % 3, :: 1 + k // 3, :] += 1.0
    return TensorDataset(x, y)


def run_epochs(model, loader, optimizer, epochs, freeze_bn=False):
    for _ in range(epochs):
        model.train()
        if freeze_bn:
            for m in model.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
    return loss.item()


g = torch.Generator().manual_seed(seed)
model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=6)
print("pretraining, loss", run_epochs(model, DataLoader(textures(400, 0.0, 6, g), 40, shuffle=True), torch.optim.Adam(model.parameters(), 1e-3), 2))

# transfer: freeze all but the new head
for p in model.parameters():
    p.requires_grad = False
model.fc = nn.Linear(model.fc.in_features, 3)
optimizer = torch.optim.Adam(model.fc.parameters(), 3e-3)
loader = DataLoader(textures(300, 0.5, 3, g), 30, shuffle=True)
print("transfer, loss", run_epochs(model, loader, optimizer, 4, freeze_bn=True))
model.eval()
test = DataLoader(textures(200, 0.5, 3, g), 100)
with torch.no_grad():
    print("accuracy", sum((model(x).argmax(1) == y).sum().item() for x, y in test) / 200)
