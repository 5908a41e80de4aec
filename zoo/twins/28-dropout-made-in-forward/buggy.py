# After delip/PyTorchNLPBook#28
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

HP = {"dim": 48, "heads": 3, "layers": 2, "p": 0.25, "lr": 2.5e-3, "bs": 50, "epochs": 5}


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.to_qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attn = (q @ k.transpose(-1, -2) * self.scale).softmax(dim=-1)
        return self.to_out((attn @ v).transpose(1, 2).reshape(b, n, d))


class FeedForward(nn.Module):
    def __init__(self, dim, p):
        super().__init__()
        self.w1, self.w2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.p = p

    def forward(self, x):
        return self.w2(nn.Dropout(self.p)(torch.nn.functional.gelu(self.w1(x))))


class ViT(nn.Module):
    def __init__(self, dim, heads, layers, p):
        super().__init__()
        self.patch = nn.Unfold(2, stride=2)
        self.embed = nn.Linear(4, dim)
        self.pos = nn.Parameter(0.02 * torch.randn(16, dim))
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(nn.ModuleList([nn.LayerNorm(dim), Attention(dim, heads), nn.LayerNorm(dim), FeedForward(dim, p)]))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, img):
        x = self.embed(self.patch(img).transpose(1, 2)) + self.pos
        for n1, attn, n2, ff in self.layers:
            x = x + attn(n1(x))
            x = x + ff(n2(x))
        return self.head(x.mean(1))


torch.manual_seed(int(os.environ.get("SEED", 0)))
bunch = load_digits()
pix, lab = torch.tensor(bunch.images).float()[:, None] / 16, torch.tensor(bunch.target)
mix = torch.randperm(len(lab))
tr = DataLoader(TensorDataset(pix[mix[:1350]], lab[mix[:1350]]), HP["bs"], shuffle=True)
va = DataLoader(TensorDataset(pix[mix[1350:]], lab[mix[1350:]]), 150)
vit = ViT(HP["dim"], HP["heads"], HP["layers"], HP["p"])
opt = torch.optim.AdamW(vit.parameters(), lr=HP["lr"])
crit = nn.CrossEntropyLoss()
for ep in range(HP["epochs"]):
    vit.train()
    for a, b in tr:
        opt.zero_grad()
        crit(vit(a), b).backward()
        opt.step()
    vit.eval()
    ok = 0
    with torch.no_grad():
        for a, b in va:
            ok += vit(a).argmax(-1).eq(b).sum().item()
    print(f"[{ep + 1}/{HP['epochs']}] acc={ok / 447:.4f}")
