# After Lightning-AI/pytorch-lightning#2924
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class LitStyleModel(nn.Module):
    def __init__(self, lr=2e-3):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 16, 10),
        )  # fmt: skip

    def training_step(self, batch):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch):
        x, y = batch
        y_hat = self.net(x)
        acc = (y_hat.argmax(1) == y).float().mean()
        return {"val_loss": nn.functional.cross_entropy(y_hat, y), "val_acc": acc, "n": len(y)}

    def validation_epoch_end(self, outputs):
        n = torch.tensor([o["n"] for o in outputs], dtype=torch.float32)
        avg_loss = (torch.stack([o["val_loss"] for o in outputs]) * n).sum() / n.sum()
        avg_acc = (torch.stack([o["val_acc"] for o in outputs]) * n).sum() / n.sum()
        return {"val_loss": avg_loss.item(), "val_acc": avg_acc.item()}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def fit(model, train_loader, val_loader, max_epochs):
    opt = model.configure_optimizers()
    for epoch in range(max_epochs):
        model.train()
        for batch in train_loader:
            opt.zero_grad()
            model.training_step(batch).backward()
            opt.step()
        model.eval()
        with torch.no_grad():
            outputs = [model.validation_step(b) for b in val_loader]
        print(epoch, model.validation_epoch_end(outputs))


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16.0, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)
    order = torch.randperm(len(y))
    train, val = order[:1281], order[1281:]
    fit(
        LitStyleModel(),
        DataLoader(TensorDataset(x[train], y[train]), batch_size=64, shuffle=True),
        DataLoader(TensorDataset(x[val], y[val]), batch_size=256),
        max_epochs=3,
    )
