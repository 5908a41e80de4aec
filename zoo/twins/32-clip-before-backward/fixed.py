# After VGraphRNN/VGRNN#4
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

seed = int(os.environ.get("SEED", 0))
np.random.seed(seed)
torch.manual_seed(seed)

# hyperparameters
h_dim = 32
clip = 1.0
learning_rate = 1e-2
eps = 1e-10
epochs = 5


class RNNClassifier(nn.Module):
    def __init__(self, x_dim, h_dim, n_out):
        super(RNNClassifier, self).__init__()
        self.phi_x = nn.Sequential(nn.Linear(x_dim, h_dim), nn.ReLU())
        self.rnn = nn.GRU(h_dim, h_dim, batch_first=True)
        self.dec = nn.Linear(h_dim, n_out)

    def forward(self, x):
        h, _ = self.rnn(self.phi_x(x))
        return self.dec(h[:, -1])


# walks that drift in one of four directions
def walks(n):
    y = np.random.randint(0, 4, n)
    drift = np.stack([np.cos(y * np.pi / 2), np.sin(y * np.pi / 2)], -1) * 0.25
    steps = np.random.normal(0, 1, (n, 15, 2)) + drift[:, None]
    return torch.tensor(np.cumsum(steps, 1) / 5, dtype=torch.float32), torch.tensor(y)


x_train, y_train = walks(1200)
x_test, y_test = walks(400)
model = RNNClassifier(2, h_dim, 4)
optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

for k in range(epochs):
    model.train()
    losses = []
    for rows in np.array_split(np.random.permutation(1200), 30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x_train[rows]), y_train[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(x_test).argmax(1) == y_test).float().mean()
    print("epoch: ", k, "loss =", round(float(np.mean(losses)), 4), "test acc =", round(float(acc), 4))
