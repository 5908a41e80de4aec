# After ratschlab/aestetik#12
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class DigitsDataset(Dataset):
    def __init__(self):
        bunch = load_digits()
        self.x = (bunch.data / 16.0).astype(np.float32)
        self.y = bunch.target.astype(np.int64)

    def __getitem__(self, idx):
        return self.x[idx], self.y[idx]

    def __len__(self):
        return len(self.y)


class Model:
    def __init__(self, hidden=64, batch_size=64, epochs=5, lr=3e-3, train_ratio=0.7, random_seed=0):
        torch.manual_seed(random_seed)
        self.epochs = epochs
        self.batch_size = batch_size
        self.train_ratio = train_ratio
        self.net = nn.Sequential(nn.Linear(64, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 10))
        self.opt = torch.optim.Adam(self.net.parameters(), lr=lr)
        self.loss = nn.CrossEntropyLoss()

    def prepare(self, dataset):
        n_train = int(len(dataset) * self.train_ratio)
        train_set, val_set = random_split(dataset, [n_train, len(dataset) - n_train])
        self.train_loader = DataLoader(train_set, batch_size=self.batch_size, shuffle=True)
        self.val_loader = DataLoader(val_set, batch_size=self.batch_size, shuffle=False)

    def fit(self):
        for epoch in range(self.epochs):
            self.net.train()
            for x, y in self.train_loader:
                self.opt.zero_grad()
                loss = self.loss(self.net(x), y)
                loss.backward()
                self.opt.step()
            print(f"epoch {epoch}: val accuracy {self.score():.4f}")
        return self

    @torch.no_grad()
    def score(self):
        self.net.eval()
        good = 0
        for x, y in self.val_loader:
            good += (self.net(x).argmax(-1) == y).sum().item()
        return good / len(self.val_loader.dataset)


if __name__ == "__main__":
    m = Model(random_seed=int(os.environ.get("SEED", 0)))
    m.prepare(DigitsDataset())
    m.fit()
