# After PetrochukM/PyTorch-NLP#2
import os
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F


class SmallViT(nn.Module):
    def __init__(self, img=16, patch=4, dim=48, depth=2, heads=4, classes=4):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, dim, kernel_size=patch, stride=patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, (img // patch) ** 2, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        block = partial(nn.TransformerEncoderLayer, dim, heads, dim * 2, 0.0, "gelu", norm_first=True, batch_first=True)
        self.blocks = nn.Sequential(*[block() for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = x + self.pos_embed
        x = self.blocks(x)
        return self.head(self.norm(x).mean(dim=1))


def stripes(n, seed):
    """Stripes in one of four directions; noise hides half of each picture."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (n,), generator=g)
    rows, cols = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    angle = (y * torch.pi / 4)[:, None, None]
    wave = torch.sin(1.4 * (cols * torch.cos(angle) + rows * torch.sin(angle)) + 6.28 * torch.rand(n, 1, 1, generator=g))
    hidden = torch.rand(n, 4, 4, generator=g).repeat_interleave(4, 1).repeat_interleave(4, 2) < 0.5
    return (torch.where(hidden, 0.0, wave) + 0.5 * torch.randn(n, 16, 16, generator=g))[:, None], y


def run(seed):
    torch.manual_seed(seed)
    x, y = stripes(1500, seed + 50)
    xv, yv = stripes(400, seed + 51)
    model = SmallViT()
    opt = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.05)
    for epoch in range(5):
        model.train()
        for rows in torch.randperm(len(y)).split(50):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
        model.eval()
        with torch.no_grad():
            pred = torch.cat([model(b) for b in xv.split(50)]).argmax(1)
        print({"epoch": epoch, "train_loss": round(loss.item(), 3), "val_acc": round((pred == yv).float().mean().item(), 3)})


if __name__ == "__main__":
    run(int(os.environ.get("SEED", 0)))
