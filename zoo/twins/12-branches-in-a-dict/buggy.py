# After asyml/texar-pytorch#72
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class InceptionLike(nn.Module):
    def __init__(self, in_ch, out_ch, kernels=(1, 3, 5)):
        super().__init__()
        self.branches = {}
        for k in kernels:
            self.branches[k] = nn.Conv2d(in_ch, out_ch, k, padding=k // 2)

    def forward(self, x):
        return torch.cat([F.relu(b(x)) for b in self.branches.values()], dim=1)


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.mix = InceptionLike(6, 6)
        self.head = nn.Linear(18 * 4, num_classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        x = F.adaptive_max_pool2d(self.mix(x), 2)
        return self.head(x.flatten(1))


def synth(n, seed):
    gen = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = 0.5 * torch.randn(n, 1, 14, 14, generator=gen)
    for i in range(n):
        a, b = torch.randint(1, 8, (2,), generator=gen).tolist()
        if y[i] == 0:
            x[i, 0, a : a + 5, b : b + 5] += 1.2
        elif y[i] == 1:
            x[i, 0, a : a + 5 : 2, b : b + 5] += 1.2
        else:
            x[i, 0, a : a + 5, b : b + 5 : 2] += 1.2
    return TensorDataset(x, y)


def run():
    seed = int(os.environ.get("SEED", 0))
    torch.manual_seed(seed)
    train_dl = DataLoader(synth(900, seed), batch_size=30, shuffle=True)
    valid_dl = DataLoader(synth(300, seed + 1), batch_size=100)
    net = Net(3)
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(5):
        net.train()
        for xb, yb in train_dl:
            loss = F.cross_entropy(net(xb), yb)
            loss.backward()
            opt.step()
            opt.zero_grad()
        net.eval()
        with torch.no_grad():
            acc = sum((net(xb).argmax(1) == yb).sum().item() for xb, yb in valid_dl) / len(valid_dl.dataset)
        print(epoch, f"{acc:.3f}")


run()
