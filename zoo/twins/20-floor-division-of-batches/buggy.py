# After zyang-ur/ReSC#8
import os
import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

args = {"batch": 96, "epochs": 3, "lr": 2e-3, "seed": int(os.environ.get("SEED", 0))}
random.seed(args["seed"])
np.random.seed(args["seed"])
torch.manual_seed(args["seed"])


class Loader:
    """Minimal loader over numpy arrays."""

    def __init__(self, x, y, batch, train):
        self.x, self.y, self.batch, self.train = x, y, batch, train

    def __iter__(self):
        order = np.arange(len(self.y))
        if self.train:
            np.random.shuffle(order)
        for b in range(len(self.y) // self.batch):
            rows = order[b * self.batch : (b + 1) * self.batch]
            yield torch.tensor(self.x[rows]), torch.tensor(self.y[rows])


class AverageMeter(object):
    def __init__(self):
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val, n=1):
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count


def conv_bn(i, o, s):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))


def train_epoch(loader, model, optimizer, epoch):
    losses = AverageMeter()
    model.train()
    for imgs, gt in loader:
        loss = nn.functional.cross_entropy(model(imgs), gt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), imgs.size(0))
    print("Epoch: [{0}]\tLoss {loss.avg:.4f}".format(epoch, loss=losses))


def test_epoch(loader, model):
    acc = AverageMeter()
    model.eval()
    for imgs, gt in loader:
        with torch.no_grad():
            pred = model(imgs)
        acc.update((pred.argmax(1) == gt).float().mean().item(), imgs.size(0))
    print("Test Accu {acc.avg:.4f}".format(acc=acc))


def main():
    d = load_digits()
    x = (d.images[:, None] / 16).astype("float32")
    train_loader = Loader(x[:1300], d.target[:1300], args["batch"], train=True)
    test_loader = Loader(x[1300:], d.target[1300:], args["batch"], train=False)
    model = nn.Sequential(conv_bn(1, 16, 1), conv_bn(16, 32, 2), conv_bn(32, 32, 2), nn.Flatten(), nn.Linear(128, 10))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=args["lr"])
    for epoch in range(args["epochs"]):
        train_epoch(train_loader, model, optimizer, epoch)
    test_epoch(test_loader, model)


if __name__ == "__main__":
    main()
