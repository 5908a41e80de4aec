# After facebookresearch/clevr-iep#22
import argparse
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--num_iterations", type=int, default=90)
p.add_argument("--checkpoint_every", type=int, default=30)
p.add_argument("--batch_size", type=int, default=32)
p.add_argument("--learning_rate", type=float, default=3e-3)
args = p.parse_args()


class ResidualBlock(nn.Module):
    def __init__(self, c, with_batchnorm=True):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1)
        self.with_batchnorm = with_batchnorm
        if with_batchnorm:
            self.bn1, self.bn2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)

    def forward(self, x):
        if self.with_batchnorm:
            out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        else:
            out = self.conv2(F.relu(self.conv1(x)))
        return F.relu(out + x)


class Baseline(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.stack = nn.Sequential(ResidualBlock(16), nn.MaxPool2d(2), ResidualBlock(16))
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(16 * 25, 5))

    def forward(self, x):
        return self.classifier(self.stack(self.stem(x)).flatten(1))


def make_split(n, generator):
    """Five classes: where the bright patch sits."""
    y = torch.randint(0, 5, (n,), generator=generator)
    x = torch.randn(n, 3, 20, 20, generator=generator)
    corners = [(0, 0), (0, 10), (10, 0), (10, 10), (5, 5)]
    for i, k in enumerate(y.tolist()):
        r, c = corners[k]
        x[i, :, r : r + 10, c : c + 10] += 0.35
    return x, y


def check_accuracy(model, x, y):
    model.eval()
    num_correct = 0
    with torch.no_grad():
        for i in range(0, len(y), 100):
            num_correct += (model(x[i : i + 100]).argmax(1) == y[i : i + 100]).sum().item()
    return num_correct / len(y)


def train_loop(args):
    g = torch.Generator().manual_seed(int(os.environ.get("SEED", 0)))
    train_x, train_y = make_split(900, g)
    val_x, val_y = make_split(300, g)
    model = Baseline()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    loss_fn = nn.CrossEntropyLoss()
    model.train()
    t, epoch = 0, 0
    while t < args.num_iterations:
        epoch += 1
        print("Starting epoch %d" % epoch)
        for batch in torch.randperm(len(train_y)).split(args.batch_size):
            t += 1
            optimizer.zero_grad()
            scores = model(train_x[batch])
            loss = loss_fn(scores, train_y[batch])
            loss.backward()
            optimizer.step()
            if t % args.checkpoint_every == 0:
                print(t, loss.item(), "val accuracy is", check_accuracy(model, val_x, val_y))
            if t == args.num_iterations:
                break


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    train_loop(args)
