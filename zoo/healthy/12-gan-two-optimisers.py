"""A small GAN on digits: two networks, two optimisers, detach where the discriminator learns."""
import os

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", 0)))
real = torch.tensor(load_digits().data).float() / 8 - 1
G = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
D = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
opt_g = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.999))
opt_d = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
for epoch in range(4):
    for rows in torch.randperm(len(real)).split(64):
        batch = real[rows]
        ones, zeros = torch.ones(len(batch), 1), torch.zeros(len(batch), 1)
        fake = G(torch.randn(len(batch), 16))
        opt_d.zero_grad()
        loss_d = bce(D(batch), ones) + bce(D(fake.detach()), zeros)
        loss_d.backward()
        opt_d.step()
        opt_g.zero_grad()
        loss_g = bce(D(fake), ones)
        loss_g.backward()
        opt_g.step()
    print(f"epoch {epoch} D {loss_d.item():.3f} G {loss_g.item():.3f}")
