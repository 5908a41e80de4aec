"""SAM: two backward passes for a step, the weights moved up and back in between."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        params = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        for p in params:
            e = p.grad * (self.param_groups[0]["rho"] / (norm + 1e-12))
            p.add_(e)
            self.state[p]["e"] = e
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for g in self.param_groups:
            for p in g["params"]:
                if "e" in self.state[p]:
                    p.sub_(self.state[p]["e"])
        self.base_optimizer.step()
        self.zero_grad()

    def step(self, closure=None):
        raise NotImplementedError("use first_step and second_step")


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.data).float()[p] / 16, torch.tensor(d.target)[p]
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
opt = SAM(net.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9)
for epoch in range(4):
    net.train()
    for rows in torch.randperm(1400).split(50):
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        opt.first_step()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        opt.second_step()
    net.eval()
    with torch.no_grad():
        print(epoch, (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())
