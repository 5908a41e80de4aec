# After lucidrains/CoCa-pytorch#6
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import einsum, nn
from torch.utils.data import DataLoader, TensorDataset


def exists(val):
    return val is not None


class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x) + x


class SelfAttention(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = (t.reshape(b, n, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, dim=-1))
        sim = einsum("b h i d, b h j d -> b h i j", q, k) * q.shape[-1] ** -0.5
        return self.out(einsum("b h i j, b h j d -> b h i d", sim.softmax(-1), v).transpose(1, 2).reshape(b, n, d))


class ImageEncoder(nn.Module):
    def __init__(self, dim, depth):
        super().__init__()
        self.to_tokens = nn.Linear(8, dim)
        self.pos = nn.Parameter(torch.randn(8, dim) * 0.1)
        self.net = nn.Sequential(*[
            nn.Sequential(Residual(SelfAttention(dim)), Residual(nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))))
            for _ in range(depth)
        ])  # fmt: skip

    def forward(self, images):
        return self.net(self.to_tokens(images) + self.pos)


class Captioner(nn.Module):
    def __init__(self, dim=48, num_classes=10, image_encoder=None):
        super().__init__()
        self.img_encoder = image_encoder
        self.img_query = nn.Parameter(torch.randn(1, dim))
        self.norm = nn.LayerNorm(dim)
        self.to_logits = nn.Linear(dim, num_classes)

    def embed_image(self, images):
        assert exists(self.img_encoder), "there must be an image encoder"
        image_tokens = self.img_encoder(images)
        attn = einsum("q d, b n d -> b q n", self.img_query, image_tokens).softmax(-1)
        return self.norm(einsum("b q n, b n d -> b q d", attn, image_tokens)[:, 0])

    def forward(self, images, labels=None):
        logits = self.to_logits(self.embed_image(images))
        return F.cross_entropy(logits, labels) if exists(labels) else logits


torch.manual_seed(int(os.environ.get("SEED", 0)))
digits = load_digits()
x, y = torch.tensor(digits.images).float() / 16, torch.tensor(digits.target)
where = torch.randperm(len(y))
dl = DataLoader(TensorDataset(x[where[:1300]], y[where[:1300]]), batch_size=50, shuffle=True)
coca = Captioner(image_encoder=ImageEncoder(48, 2))
opt = torch.optim.Adam(coca.parameters(), lr=2e-3)
for epoch in range(4):
    coca.train()
    for images, labels in dl:
        loss = coca(images, labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
    coca.eval()
    with torch.no_grad():
        acc = (coca(x[where[1300:]]).argmax(-1) == y[where[1300:]]).float().mean()
    print(f"epoch {epoch} loss {loss.item():.3f} acc {acc.item():.3f}")
