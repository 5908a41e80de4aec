# After zoogzog/chexnet#27
import os
import random

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


class DigitSet(Dataset):
    def __init__(self, augment):
        d = load_digits()
        self.images = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 16.0
        self.labels = torch.tensor(d.target)
        self.augment = augment

    def __getitem__(self, i):
        img = self.images[i]
        if self.augment:
            dx, dy = random.randint(-1, 1), random.randint(-1, 1)
            img = torch.roll(img, (dy, dx), (1, 2))
            img = img + 0.1 * torch.randn_like(img)
            if random.random() < 0.3:
                r, c = random.randrange(6), random.randrange(6)
                img[:, r : r + 3, c : c + 3] = 0
        return img, self.labels[i]

    def __len__(self):
        return len(self.labels)


class ChexnetTrainer:
    @staticmethod
    def train(batch, epochs, seed):
        random.seed(seed)
        torch.manual_seed(seed)
        order = torch.randperm(1797).tolist()
        train_set, val_set = Subset(DigitSet(augment=True), order[:1350]), Subset(DigitSet(augment=False), order[1350:])
        loader_train = DataLoader(dataset=train_set, batch_size=batch, shuffle=True, num_workers=0)
        loader_val = DataLoader(dataset=val_set, batch_size=batch, shuffle=False, num_workers=0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-08, weight_decay=1e-5)
        for epoch in range(epochs):
            ChexnetTrainer.epoch_train(model, loader_train, optimizer)
            loss, acc = ChexnetTrainer.epoch_val(model, loader_val)
            print(f"Epoch [{epoch + 1}] loss= {loss:.4f} acc= {acc:.4f}")

    @staticmethod
    def epoch_train(model, loader, optimizer):
        model.train()
        for img, target in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(img), target).backward()
            optimizer.step()

    @staticmethod
    def epoch_val(model, loader):
        model.eval()
        loss, hits, n = 0.0, 0, 0
        with torch.no_grad():
            for img, target in loader:
                out = model(img)
                loss += F.cross_entropy(out, target, reduction="sum").item()
                hits += (out.argmax(1) == target).sum().item()
                n += len(target)
        return loss / n, hits / n


if __name__ == "__main__":
    ChexnetTrainer.train(batch=45, epochs=4, seed=int(os.environ.get("SEED", 0)))
