# After baal-org/baal#110
import copy
import os

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

SEED = int(os.environ.get("SEED", 0))


class ModelWrapper:
    """Fits a classifier, as part of an active-learning cycle."""

    def __init__(self, model, criterion):
        self.model = model
        self.criterion = criterion

    def train_on_dataset(self, dataset, optimizer, batch_size, epoch, initial_weights):
        self.model.train()
        history = []
        self.model.load_state_dict(initial_weights)
        for _ in range(epoch):
            history.append(self._run_epoch(DataLoader(dataset, batch_size, shuffle=True), optimizer))
        return history

    def _run_epoch(self, loader, optimizer):
        total, n = 0.0, 0
        for data, target in loader:
            optimizer.zero_grad()
            loss = self.criterion(self.model(data), target)
            loss.backward()
            optimizer.step()
            total, n = total + loss.item() * len(target), n + len(target)
        return total / n

    def test_on_dataset(self, dataset):
        self.model.eval()
        with torch.no_grad():
            hits = [(self.model(x).argmax(1) == y) for x, y in DataLoader(dataset, 256)]
        return torch.cat(hits).float().mean().item()


def blobs(n, rng):
    centres = np.random.RandomState(5).normal(0, 1.3, (8, 20))
    y = rng.randint(0, 8, n)
    return TensorDataset(torch.tensor(centres[y] + rng.normal(0, 1.6, (n, 20))).float(), torch.tensor(y))


rng = np.random.RandomState(SEED)
torch.manual_seed(SEED)
pool, test = blobs(1200, rng), blobs(600, rng)
net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
start = copy.deepcopy(net.state_dict())
wrapper = ModelWrapper(net, nn.CrossEntropyLoss())
labelled = rng.permutation(1200)[:800]
losses = wrapper.train_on_dataset(
    Subset(pool, labelled.tolist()), torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9), 32, 6, start
)
print("train loss", [round(v, 3) for v in losses])
print("test accuracy", round(wrapper.test_on_dataset(test), 4))
