"""torch.func: parameters in a dictionary, grad of a pure loss, hand-written SGD."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call, grad_and_value

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
p = torch.randperm(1797)
x, y = torch.tensor(d.data).float()[p] / 16, torch.tensor(d.target)[p]
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
params = {k: v.detach().clone() for k, v in net.named_parameters()}


def loss_fn(params, a, b):
    return nn.functional.cross_entropy(functional_call(net, params, (a,)), b)


step = grad_and_value(loss_fn)
for epoch in range(5):
    for rows in torch.randperm(1400).split(50):
        grads, loss = step(params, x[rows], y[rows])
        params = {k: params[k] - 0.2 * grads[k] for k in params}
    acc = (functional_call(net, params, (x[1400:],)).argmax(1) == y[1400:]).float().mean()
    print(epoch, loss.item(), acc.item())
