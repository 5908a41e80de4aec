# After yu-changqian/TorchSeg#8
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class TrainPre:
    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def __call__(self, img):
        img = img.astype(np.float32) / 255.0
        return (img - self.mean) / self.std


class ValPre:
    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def __call__(self, img):
        img = img.astype(np.float32) / 255.0
        return (img - self.mean) / self.std


class Digits(Dataset):
    def __init__(self, split, preprocess):
        d = load_digits()
        pick = np.arange(len(d.target)) % 4 == 0
        pick = ~pick if split == "train" else pick
        self.images = (d.images[pick] * 255 / 16).astype(np.uint8)
        self.labels = d.target[pick]
        self.preprocess = preprocess

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.from_numpy(self.preprocess(self.images[i]))[None], int(self.labels[i])


torch.manual_seed(int(os.environ.get("SEED", 0)))
train_loader = DataLoader(Digits("train", TrainPre(0.305, 0.376)), 32, shuffle=True)
val_loader = DataLoader(Digits("val", ValPre(0.305, 0.376)), 100)
net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
for epoch in range(3):
    net.train()
    for img, gt in train_loader:
        loss = nn.functional.cross_entropy(net(img), gt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    hit = 0
    with torch.no_grad():
        for img, gt in val_loader:
            hit += (net(img).argmax(1) == gt).sum().item()
    print("epoch", epoch, "loss", round(loss.item(), 3), "val", round(hit / len(val_loader.dataset), 4))
