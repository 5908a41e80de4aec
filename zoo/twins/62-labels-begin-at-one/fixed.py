# After YuqingWang1029/VisTR#11
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class AnnotatedDigits(Dataset):
    """Categories are numbered from 1, as in many annotation files."""

    def __init__(self, part):
        d = load_digits()
        rows = slice(0, 1350) if part == "train" else slice(1350, None)
        self.images = torch.tensor(d.images[rows]).float()[:, None] / 16
        self.annotations = [{"category_id": int(t) + 1} for t in d.target[rows]]

    def __len__(self):
        return len(self.annotations)

    def __getitem__(self, i):
        return self.images[i], self.annotations[i]["category_id"] - 1


num_classes = 10


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    train_loader = DataLoader(AnnotatedDigits("train"), 45, shuffle=True)
    val_loader = DataLoader(AnnotatedDigits("val"), 149)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, num_classes))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 6e-3)
    for epoch in range(4):
        model.train()
        for images, targets in train_loader:
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            acc = sum((model(i).argmax(1) == t).sum().item() for i, t in val_loader) / len(val_loader.dataset)
        print("epoch", epoch, "accuracy", round(acc, 4))


if __name__ == "__main__":
    main()
