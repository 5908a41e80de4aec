"""Fine-tuning with the whole network trained but BatchNorm kept in eval mode, as detection code does."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10))
        self.norm_eval = False

    def train(self, mode=True):
        super().train(mode)
        if mode and self.norm_eval:
            for m in self.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()
        return self

    def forward(self, x):
        return self.fc(self.features(x))


def run(net, x, y, epochs, lr):
    opt = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    for _ in range(epochs):
        net.train()
        for rows in torch.randperm(len(y)).split(50):
            opt.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            opt.step()


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.images[:, None]).float()[p] / 16, torch.tensor(d.target)[p]
net = Net()
run(net, x[:1000], y[:1000], 2, 0.05)
net.norm_eval = True
run(net, x[1000:1400], y[1000:1400], 2, 0.01)
net.eval()
with torch.no_grad():
    print("accuracy", (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())
