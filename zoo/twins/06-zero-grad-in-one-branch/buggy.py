# After facebookresearch/nwm#16
import os
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    image_size: int = 16
    patch: int = 4
    dim: int = 64
    depth: int = 2
    heads: int = 4
    bfloat_enable: bool = True
    lr: float = 1e-3
    epochs: int = 4
    grad_clip_val: float = 10.0
    seed: int = int(os.environ.get("SEED", 0))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        h = self.n1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.n2(x))


class ViT(nn.Module):
    def __init__(self, c: Config, classes=4):
        super().__init__()
        self.proj = nn.Conv2d(1, c.dim, c.patch, c.patch)
        self.pos = nn.Parameter(torch.randn(1, (c.image_size // c.patch) ** 2, c.dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(c.dim, c.heads) for _ in range(c.depth)])
        self.norm, self.head = nn.LayerNorm(c.dim), nn.Linear(c.dim, classes)

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.norm(self.blocks(x)).mean(1))


def gratings(n, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (n,), generator=g)
    angle = y * torch.pi / 4 + torch.randn(n, generator=g) * 0.15
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    wave = xx[None] * torch.cos(angle)[:, None, None] + yy[None] * torch.sin(angle)[:, None, None]
    x = torch.sin(wave * 1.1 + torch.rand(n, 1, 1, generator=g) * 6.28) + 0.5 * torch.randn(n, 16, 16, generator=g)
    return TensorDataset(x[:, None], y)


def main(c: Config):
    torch.manual_seed(c.seed)
    loader = DataLoader(gratings(1200, c.seed + 10), batch_size=48, shuffle=True, drop_last=True)
    test_loader = DataLoader(gratings(400, c.seed + 20), batch_size=100)
    model = ViT(c)
    opt = torch.optim.AdamW(model.parameters(), lr=c.lr, weight_decay=0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)

    for epoch in range(c.epochs):
        model.train()
        for x, y in loader:
            amp = torch.autocast("cpu", dtype=torch.bfloat16) if c.bfloat_enable else nullcontext()
            with amp:
                loss = nn.functional.cross_entropy(model(x), y)
            if not c.bfloat_enable:
                opt.zero_grad()
                loss.backward()
                opt.step()
            else:
                scaler.scale(loss).backward()
                if c.grad_clip_val > 0:
                    scaler.unscale_(opt)
                    torch.nn.utils.clip_grad_norm_(model.parameters(), c.grad_clip_val)
                scaler.step(opt)
                scaler.update()
        model.eval()
        with torch.inference_mode():
            acc = torch.cat([model(x).argmax(1) == y for x, y in test_loader]).float().mean().item()
        print(f"(epoch={epoch}) Train Loss: {loss.item():.4f}, Eval Acc: {acc:.4f}")


main(Config())
