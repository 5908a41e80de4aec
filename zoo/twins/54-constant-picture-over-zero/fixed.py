# After Pointcept/Pointcept#530
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class StandardisedDigits(Dataset):
    def __init__(self, images, labels):
        self.images = images
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        img = self.images[i]
        img = (img - img.mean()) / (img.std() + 1e-6)
        return img[None], self.labels[i]


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
images, labels = torch.tensor(d.images).float(), torch.tensor(d.target)
images[700] = 0.0  # the scanner was closed
train_dl = DataLoader(StandardisedDigits(images[:1400], labels[:1400]), batch_size=40, shuffle=True)
val_dl = DataLoader(StandardisedDigits(images[1400:], labels[1400:]), batch_size=100)
net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(3):
    net.train()
    for xb, yb in train_dl:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(xb), yb)
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        acc = sum((net(xb).argmax(1) == yb).sum().item() for xb, yb in val_dl) / len(val_dl.dataset)
    print(f"epoch {epoch + 1}: accuracy {acc:.3f}")
