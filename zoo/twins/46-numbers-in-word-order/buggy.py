# After modestyachts/ImageNetV2#10
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

SEED = int(os.environ.get("SEED", 0))
K = 12


class NumberedFolder(Dataset):
    def __init__(self, root, transform):
        self.files = sorted(Path(root).glob("*/*.png"))
        self.transform = transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.transform(Image.open(self.files[i])), int(self.files[i].parent.name)


def save_images(root, n, patterns, rng):
    for k in range(K):
        (root / str(k)).mkdir(parents=True)
        for i in range(n):
            Image.fromarray((patterns[k] + rng.normal(0, 40, (10, 10))).clip(0, 255).astype("uint8")).save(root / str(k) / f"{i:04d}.png")


torch.manual_seed(SEED)
rng = np.random.default_rng(SEED)
with tempfile.TemporaryDirectory() as d:
    d = Path(d)
    patterns = np.random.default_rng(9).uniform(60, 190, (K, 10, 10))
    save_images(d / "train", 50, patterns, rng)
    save_images(d / "matched-frequency", 15, patterns, rng)
    t = transforms.Compose([transforms.Grayscale(), transforms.ToTensor(), transforms.Normalize(0.5, 0.2)])
    train_loader = DataLoader(NumberedFolder(d / "train", t), 30, shuffle=True)
    test_set = ImageFolder(d / "matched-frequency", t)
    test_loader = DataLoader(test_set, 90)
    net = nn.Sequential(nn.Flatten(), nn.Linear(100, 64), nn.ReLU(), nn.Linear(64, K))
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(4):
        net.train()
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print("epoch", epoch, "loss", loss.item())
    net.eval()
    with torch.no_grad():
        top1 = sum(net(x).argmax(1).eq(y).sum().item() for x, y in test_loader)
    print("top-1 accuracy:", top1 / len(test_set))
