# After jindongwang/Deep-learning-activity-recognition#10
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

config = {"nepoch": 4, "batch_size": 64, "lr": 0.05, "momentum": 0.9, "seed": int(os.environ.get("SEED", 0))}


class Network(nn.Module):
    def __init__(self):
        super(Network, self).__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(9, 16, kernel_size=(1, 9)), nn.ReLU(), nn.MaxPool2d((1, 2), stride=2))
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, kernel_size=(1, 9)), nn.ReLU(), nn.MaxPool2d((1, 2), stride=2))
        self.fc1 = nn.Sequential(nn.Linear(32 * 10, 64), nn.ReLU())
        self.fc2 = nn.Linear(64, 6)

    def forward(self, x):
        out = self.conv1(x)
        out = self.conv2(out)
        out = out.reshape(-1, 32 * 10)
        out = self.fc1(out)
        out = self.fc2(out)
        out = F.softmax(out, dim=1)
        return out


def load_data():
    """Six activities, nine sensor channels, 64 points in time: waves of a speed that tells the activity."""
    rng = np.random.RandomState(config["seed"])
    y = rng.randint(0, 6, 1600)
    t = np.arange(64)
    phase = rng.uniform(0, 2 * np.pi, (1600, 9, 1))
    x = np.sin(t[None, None] * (0.15 + 0.12 * y[:, None, None]) + phase) + rng.normal(0, 0.7, (1600, 9, 64))
    return x.astype("float32")[:, :, None], y.astype("int64")


def batches(x, y, size, shuffle):
    idx = np.random.permutation(len(y)) if shuffle else np.arange(len(y))
    for s in range(0, len(y), size):
        b = idx[s : s + size]
        yield torch.from_numpy(x[b]), torch.from_numpy(y[b])


def train(model, optimizer, data, val):
    criterion = nn.CrossEntropyLoss()
    for e in range(config["nepoch"]):
        model.train()
        correct, total_loss = 0, 0.0
        for sample, target in batches(*data, config["batch_size"], True):
            output = model(sample)
            loss = criterion(output, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(target)
            correct += (output.argmax(1) == target).sum().item()
        print(f"Epoch: [{e}/{config['nepoch']}], loss: {total_loss / len(data[1]):.4f}, train acc: {correct / len(data[1]):.4f}")
        test(model, val)


def test(model, data):
    model.eval()
    correct = 0
    with torch.no_grad():
        for sample, target in batches(*data, 200, False):
            correct += (model(sample).argmax(1) == target).sum().item()
    print(f"test acc: {correct / len(data[1]):.4f}")


if __name__ == "__main__":
    torch.manual_seed(config["seed"])
    np.random.seed(config["seed"])
    x, y = load_data()
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=config["momentum"])
    train(model, optimizer, (x[:1200], y[:1200]), (x[1200:], y[1200:]))
