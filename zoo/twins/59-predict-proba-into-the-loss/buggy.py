# After Lightning-Universe/lightning-bolts#654
import os

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import nn
from torch.nn.functional import cross_entropy, softmax
from torch.utils.data import DataLoader, TensorDataset


class LogisticRegression(nn.Module):
    def __init__(self, input_dim, num_classes, bias=True):
        super().__init__()
        self.linear = nn.Linear(in_features=input_dim, out_features=num_classes, bias=bias)

    def forward(self, x):
        x = self.linear(x)
        return softmax(x, dim=-1)

    def training_step(self, batch):
        x, y = batch
        x = x.view(x.size(0), -1)
        y_hat = self(x)
        return cross_entropy(y_hat, y, reduction="sum") / len(y)


torch.manual_seed(int(os.environ.get("SEED", 0)))
wine = load_wine()
X, Y = torch.tensor(scale(wine.data), dtype=torch.float32), torch.tensor(wine.target)
perm = torch.randperm(len(Y))
loader = DataLoader(TensorDataset(X[perm[:120]], Y[perm[:120]]), batch_size=12, shuffle=True)
model = LogisticRegression(13, 3)
optim = torch.optim.SGD(model.parameters(), lr=0.05)
for epoch in range(12):
    model.train()
    for batch in loader:
        loss = model.training_step(batch)
        optim.zero_grad()
        loss.backward()
        optim.step()
print("train_loss", loss.item())
model.eval()
with torch.no_grad():
    print("accuracy", (model(X[perm[120:]]).argmax(1) == Y[perm[120:]]).float().mean().item())
