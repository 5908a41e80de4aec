# After pytorch/pytorch#59925
import os

import torch
from sklearn import datasets
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", 0)))


class DeepNet(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.hidden = [nn.Linear(a, b) for a, b in zip(sizes[:-2], sizes[1:-1])]
        self.out = nn.Linear(sizes[-2], sizes[-1])

    def forward(self, x):
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.out(x)


# data
d = datasets.load_digits()
x = torch.from_numpy(d.data).float() / 16
y = torch.from_numpy(d.target)
perm = torch.randperm(len(x))
x_train, y_train = x[perm[:1400]], y[perm[:1400]]
x_test, y_test = x[perm[1400:]], y[perm[1400:]]

net = DeepNet([64, 48, 32, 10])
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()

# training
for epoch in range(6):
    net.train()
    idx = torch.randperm(len(x_train))
    total_loss = 0.0
    for i in range(0, len(idx), 50):
        batch = idx[i : i + 50]
        optimizer.zero_grad()
        output = net(x_train[batch])
        loss = criterion(output, y_train[batch])
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(batch)
    print(f"Epoch {epoch + 1}/6, loss = {total_loss / len(idx):.4f}")

# test
net.eval()
with torch.no_grad():
    pred = net(x_test).argmax(dim=1)
print("accuracy", (pred == y_test).float().mean().item())
