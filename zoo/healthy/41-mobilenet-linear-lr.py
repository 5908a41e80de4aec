"""torchvision's MobileNetV3 from scratch at a small size, LambdaLR per step."""
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import mobilenet_v3_small

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)


def make(n, s):
    g = torch.Generator().manual_seed(s)
    y = torch.randint(0, 3, (n,), generator=g)
    x = torch.randn(n, 3, 32, 32, generator=g)
    for i, k in enumerate(y.tolist()):
        x[i, k] += 1.0
    return TensorDataset(x, y)


train, val = DataLoader(make(320, seed), 32, shuffle=True), DataLoader(make(120, seed + 1), 60)
net = mobilenet_v3_small(num_classes=3, width_mult=0.5)
for m in net.modules():
    if isinstance(m, nn.BatchNorm2d):
        m.momentum = 0.2
total = 4 * len(train)
opt = torch.optim.AdamW(net.parameters(), lr=4e-3)
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min((s + 1) / 4, (total - s) / total))
for epoch in range(4):
    net.train()
    for a, b in train:
        loss = nn.functional.cross_entropy(net(a), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
    net.eval()
    with torch.no_grad():
        print(epoch, sum((net(a).argmax(1) == b).sum().item() for a, b in val) / 120)
