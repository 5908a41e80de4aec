# After yastrebksv/TennisCourtDetector#7
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split


class ConvBlock(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, bias=True), nn.ReLU(), nn.BatchNorm2d(c_out)
        )

    def forward(self, x):
        return self.block(x)


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = ConvBlock(1, 16)
        self.conv2 = ConvBlock(16, 32)
        self.head = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.head(x.flatten(1))


def train(model, train_loader, optimizer, criterion, device, epoch, max_iters=100):
    model.train()
    losses = []
    for iter_id, batch in enumerate(train_loader):
        images, labels = batch[0].to(device), batch[1].to(device)
        out = model(images)
        loss = criterion(out, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if iter_id > max_iters:
            break
    print("train | epoch={}, loss={:.5f}".format(epoch, sum(losses) / len(losses)))


def val(model, val_loader, criterion, device, epoch):
    model.eval()
    tp, n, total = 0, 0, 0.0
    for batch in val_loader:
        with torch.no_grad():
            out = model(batch[0].to(device))
            total += criterion(out, batch[1].to(device)).item() * len(batch[1])
            tp += (out.argmax(dim=1).cpu() == batch[1]).sum().item()
            n += len(batch[1])
    print("val   | epoch={}, loss={:.5f}, accuracy={:.4f}".format(epoch, total / n, tp / n))


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    d = load_digits()
    dataset = TensorDataset(torch.tensor(d.images, dtype=torch.float32)[:, None] / 16, torch.tensor(d.target))
    train_set, val_set = random_split(dataset, [1400, 397])
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=64, shuffle=False)
    model = DigitNet().to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0)
    for epoch in range(3):
        train(model, train_loader, optimizer, criterion, device, epoch)
        val(model, val_loader, criterion, device, epoch)
