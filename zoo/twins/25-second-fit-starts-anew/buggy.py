# After Nixtla/neuralforecast#674
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class DigitClassifier:
    def __init__(self, channels=12, lr=3e-3, random_state=1):
        self.lr = lr
        torch.manual_seed(random_state)
        self.module = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.BatchNorm2d(2 * channels), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * channels, 10),
        )  # fmt: skip
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=lr)
        self._reset()

    def _reset(self):
        for m in self.module.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.zeros_(m.bias)

    def fit(self, dataset, epochs):
        self._reset()
        loader = DataLoader(dataset, batch_size=32, shuffle=True)
        self.module.train()
        for epoch in range(epochs):
            total = 0.0
            for xb, yb in loader:
                self.optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.module(xb), yb)
                loss.backward()
                self.optimizer.step()
                total += loss.item() * len(yb)
            print(f"  epoch {epoch}: {total / len(dataset):.4f}")
        return self

    @torch.no_grad()
    def score(self, dataset):
        self.module.eval()
        hits = 0
        for xb, yb in DataLoader(dataset, batch_size=256):
            hits += (self.module(xb).argmax(1) == yb).sum().item()
        return hits / len(dataset)


if __name__ == "__main__":
    seed = int(os.environ.get("SEED", 0))
    d = load_digits()
    x, y = torch.tensor(d.images[:, None] / 16.0).float(), torch.tensor(d.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    x, y = x[order], y[order]
    big, small, test = TensorDataset(x[:1100], y[:1100]), TensorDataset(x[1100:1250], y[1100:1250]), TensorDataset(x[1250:], y[1250:])
    clf = DigitClassifier(random_state=seed)
    print("pretraining")
    clf.fit(big, epochs=3)
    print("score", round(clf.score(test), 4))
    print("fine-tuning on the new site")
    clf.fit(small, epochs=2)
    print("score", round(clf.score(test), 4))
