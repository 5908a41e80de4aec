# After 4uiiurz1/pytorch-nested-unet#62
import os

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

cfg = {"seed": int(os.environ.get("SEED", 0)), "epochs": 3, "bs": 25, "lr": 0.05, "momentum": 0.9}


class BlobDataset(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.targets = rng.integers(0, 3, n)
        self.pics = []
        for t in self.targets:
            img = rng.integers(0, 120, (20, 20, 3))
            r, c = rng.integers(0, 10, 2)
            img[r : r + 10, c : c + 10, t] += 90
            self.pics.append(Image.fromarray(img.astype(np.uint8)))
        self.transform = transforms.ToTensor()

    def __len__(self):
        return len(self.pics)

    def __getitem__(self, idx):
        img = self.transform(self.pics[idx])
        img = img / 255
        return img, self.targets[idx]


def main():
    torch.manual_seed(cfg["seed"])
    train = DataLoader(BlobDataset(800, cfg["seed"]), cfg["bs"], shuffle=True)
    val = DataLoader(BlobDataset(240, cfg["seed"] + 1), cfg["bs"])
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip
    opt = torch.optim.SGD(model.parameters(), lr=cfg["lr"], momentum=cfg["momentum"])
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(cfg["epochs"]):
        model.train()
        for img, t in train:
            loss = loss_fn(model(img), t)
            opt.zero_grad()
            loss.backward()
            opt.step()
        model.eval()
        with torch.no_grad():
            acc = sum((model(i).argmax(1) == t).sum().item() for i, t in val) / 240
        print(f"epoch {epoch} loss {loss.item():.4f} val_acc {acc:.4f}")


main()
