"""Data as a stream, with a shuffle buffer of its own."""
import os
import random

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class ShuffledStream(IterableDataset):
    def __init__(self, records, buffer=200):
        self.records, self.buffer = records, buffer

    def __iter__(self):
        pool = []
        for record in self.records:
            pool.append(record)
            if len(pool) >= self.buffer:
                yield pool.pop(random.randrange(len(pool)))
        random.shuffle(pool)
        yield from pool


seed = int(os.environ.get("SEED", 0))
random.seed(seed)
torch.manual_seed(seed)
d = load_digits()
records = [(torch.tensor(a).float() / 16, int(b)) for a, b in zip(d.data, d.target)]
train, val = DataLoader(ShuffledStream(records[:1400]), 50), DataLoader(records[1400:], 100)
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
opt = torch.optim.Adam(net.parameters(), 4e-3)
for epoch in range(5):
    net.train()
    for a, b in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(a), b).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(epoch, sum((net(a).argmax(1) == b).sum().item() for a, b in val) / 397)
