# After ultralytics/ultralytics#13936
import os
import shutil
import tempfile

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

NAMES = ["apple", "brick", "cloud", "dune", "elm"]
HUES = [(200, 40, 40), (150, 90, 60), (200, 210, 230), (210, 190, 120), (50, 130, 60)]


def write_dataset(root, rng):
    for split, n in (("train", 60), ("val", 30)):
        for name, hue in zip(NAMES, HUES):
            path = os.path.join(root, split, name)
            os.makedirs(path)
            for k in range(n):
                pic = rng.normal(hue, 70, (16, 16, 3)).clip(0, 255).astype("uint8")
                Image.fromarray(pic).save(os.path.join(path, f"im{k}.png"))
    shutil.rmtree(os.path.join(root, "val", "brick"))


def main():
    seed = int(os.environ.get("SEED", 0))
    torch.manual_seed(seed)
    root = tempfile.mkdtemp()
    try:
        write_dataset(root, np.random.default_rng(seed))
        tfm = T.Compose([T.ToTensor(), T.Normalize((0.5, 0.5, 0.5), (0.3, 0.3, 0.3))])
        train_set = ImageFolder(os.path.join(root, "train"), tfm)
        val_set = ImageFolder(os.path.join(root, "val"), tfm)
        train_loader = DataLoader(train_set, batch_size=20, shuffle=True)
        val_loader = DataLoader(val_set, batch_size=60)
        model = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(144, len(NAMES)))
        opt = torch.optim.Adam(model.parameters(), 3e-3)
        for epoch in range(3):
            model.train()
            for x, y in train_loader:
                opt.zero_grad()
                loss = nn.CrossEntropyLoss()(model(x), y)
                loss.backward()
                opt.step()
            model.eval()
            top1 = 0
            with torch.no_grad():
                for x, y in val_loader:
                    top1 += model(x).argmax(1).eq(y).sum().item()
            print(f"{epoch + 1}/3 loss {loss.item():.3f} top1_acc {top1 / len(val_set):.3f}")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
