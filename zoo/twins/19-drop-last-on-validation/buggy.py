# After open-mmlab/mmpretrain#857
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

cfg = dict(
    seed=int(os.environ.get("SEED", 0)),
    data=dict(samples_per_gpu=64, workers_per_gpu=0),
    model=dict(dim=48, depth=2, heads=4, patch=2, num_classes=10),
    optimizer=dict(lr=2e-3, weight_decay=0.01),
    runner=dict(max_epochs=4),
)


class PatchViT(nn.Module):
    def __init__(self, dim, depth, heads, patch, num_classes):
        super().__init__()
        self.embed = nn.Conv2d(1, dim, patch, patch)
        n = (8 // patch) ** 2
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, n + 1, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.1, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


def build_dataset():
    d = load_digits()
    g = torch.Generator().manual_seed(7)
    order = torch.randperm(len(d.target), generator=g)
    x, y = torch.tensor(d.images)[order, None].float() / 8 - 1, torch.tensor(d.target)[order]
    return TensorDataset(x[:1400], y[:1400]), TensorDataset(x[1400:], y[1400:])


def build_dataloader(dataset, samples_per_gpu, workers_per_gpu, shuffle, drop_last):
    return DataLoader(dataset, samples_per_gpu, shuffle=shuffle, num_workers=workers_per_gpu, drop_last=drop_last)


def single_gpu_test(model, data_loader):
    model.eval()
    results, gts = [], []
    for img, gt in data_loader:
        with torch.no_grad():
            results.append(model(img).argmax(1))
        gts.append(gt)
    return torch.cat(results), torch.cat(gts)


def main():
    torch.manual_seed(cfg["seed"])
    train_set, val_set = build_dataset()
    train_loader = build_dataloader(train_set, **cfg["data"], shuffle=True, drop_last=True)
    val_loader = build_dataloader(val_set, **cfg["data"], shuffle=False, drop_last=True)
    model = PatchViT(**cfg["model"])
    optimizer = torch.optim.AdamW(model.parameters(), **cfg["optimizer"])
    for epoch in range(cfg["runner"]["max_epochs"]):
        model.train()
        for img, gt in train_loader:
            loss = nn.functional.cross_entropy(model(img), gt)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pred, gt = single_gpu_test(model, val_loader)
        print(f"Epoch(val) [{epoch + 1}] accuracy_top-1: {100 * (pred == gt).float().mean():.2f}")


if __name__ == "__main__":
    main()
