"""The head starts at zero, as in torchvision's ViT: all outputs equal at first, on purpose."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn


class ViT(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.patchify = nn.Conv2d(1, dim, 2, 2)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.empty(1, 17, dim).normal_(std=0.02))
        self.enc = nn.TransformerEncoder(nn.TransformerEncoderLayer(dim, 4, 96, 0.0, batch_first=True, norm_first=True), 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, 10)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        t = self.patchify(x).flatten(2).mT
        t = self.enc(torch.cat([self.cls.expand(len(t), -1, -1), t], 1) + self.pos)
        return self.head(t[:, 0])


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.images[:, None]).float()[p] / 16, torch.tensor(d.target)[p]
net = ViT()
opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
for epoch in range(6):
    net.train()
    for rows in torch.randperm(1400).split(50):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
    net.eval()
    with torch.no_grad():
        print(epoch, loss.item(), (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())
