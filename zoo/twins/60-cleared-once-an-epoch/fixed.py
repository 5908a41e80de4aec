# After wenet-e2e/wekws#73
import os

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, IterableDataset


class KeywordStream(IterableDataset):
    """A stream of short spectrograms with one of four keywords."""

    def __init__(self, n, seed):
        self.n, self.seed, self.epoch = n, seed, 0

    def __iter__(self):
        g = torch.Generator().manual_seed(self.seed + 1000 * self.epoch)
        for _ in range(self.n):
            k = int(torch.randint(0, 4, (1,), generator=g))
            feats = torch.randn(20, 12, generator=g)
            at = int(torch.randint(0, 10, (1,), generator=g))
            feats[at : at + 10, 3 * k : 3 * k + 3] += 0.9
            yield feats, k


class KWSModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.preprocessing = nn.Linear(12, 24)
        self.backbone = nn.Sequential(nn.Conv1d(24, 24, 5, padding=2, groups=4), nn.ReLU(), nn.Conv1d(24, 24, 3, padding=1), nn.ReLU())
        self.classifier = nn.Linear(24, 4)

    def forward(self, feats):
        x = torch.relu(self.preprocessing(feats)).transpose(1, 2)
        return self.classifier(self.backbone(x).amax(-1))


class Executor:
    def train(self, model, optimizer, data_loader, clip=5.0):
        model.train()
        for batch_idx, (feats, target) in enumerate(data_loader):
            loss = nn.functional.cross_entropy(model(feats), target)
            optimizer.zero_grad()
            loss.backward()
            grad_norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
        print(f"TRAIN Batch {batch_idx} loss {loss.item():.4f} grad norm {grad_norm:.3f}")

    def test(self, model, data_loader):
        model.eval()
        num_correct = num_seen = 0
        with torch.no_grad():
            for feats, target in data_loader:
                num_correct += (model(feats).argmax(1) == target).sum().item()
                num_seen += len(target)
        print(f"CV accuracy {num_correct / num_seen:.4f}")


if __name__ == "__main__":
    seed = int(os.environ.get("SEED", 0))
    torch.manual_seed(seed)
    train_set, cv_set = KeywordStream(800, seed), KeywordStream(300, seed + 500)
    model = KWSModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    executor = Executor()
    for epoch in range(3):
        train_set.epoch = epoch
        executor.train(model, optimizer, DataLoader(train_set, batch_size=25))
        executor.test(model, DataLoader(cv_set, batch_size=100))
