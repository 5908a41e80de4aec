# After vitrioil/Speech-Separation#4
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class ConvRecurrent(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.rnn = nn.GRU(64, hidden, bidirectional=True)
        self.fc = nn.Linear(2 * hidden * 8, 10)

    def forward(self, x):
        f = self.conv(x)  # N, C, H, W
        n, c, h, w = f.shape
        seq = f.permute(2, 0, 1, 3).reshape(h, n, c * w)  # H, N, C*W
        out, _ = self.rnn(seq)
        return self.fc(out.transpose(0, 1).reshape(n, -1))


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    d = load_digits()
    x, y = torch.from_numpy(d.images).float()[:, None] / 16, torch.from_numpy(d.target)
    idx = torch.randperm(len(y))
    train_dl = DataLoader(TensorDataset(x[idx[:1408]], y[idx[:1408]]), batch_size=32, shuffle=True)
    val_dl = DataLoader(TensorDataset(x[idx[1408:]], y[idx[1408:]]), batch_size=32)
    net = ConvRecurrent()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(4):
        net.train()
        for xb, yb in train_dl:
            optimiser.zero_grad()
            loss = loss_fn(net(xb), yb)
            loss.backward()
            optimiser.step()
        net.eval()
        right = 0
        with torch.no_grad():
            for xb, yb in val_dl:
                right += int((net(xb).argmax(1) == yb).sum())
        print(f"epoch {epoch}  loss {loss.item():.3f}  val accuracy {right / len(val_dl.dataset):.3f}")


if __name__ == "__main__":
    main()
