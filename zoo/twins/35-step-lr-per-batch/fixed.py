# After ivadomed/ivadomed#55
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

context = {
    "batch_size": 32,
    "num_epochs": 6,
    "initial_lr": 0.05,
    "lr_scheduler": {"name": "StepLR", "step_size": 3, "gamma": 0.3},
    "seed": int(os.environ.get("SEED", 0)),
}


def down_block(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(), nn.MaxPool2d(2))


def cmd_train(context):
    torch.manual_seed(context["seed"])
    d = load_digits()
    x = torch.tensor(d.images[:, None], dtype=torch.float32) / 16
    y = torch.tensor(d.target)
    p = torch.randperm(len(y))
    train_loader = DataLoader(TensorDataset(x[p[:1300]], y[p[:1300]]), context["batch_size"], shuffle=True)
    val_loader = DataLoader(TensorDataset(x[p[1300:]], y[p[1300:]]), 100)

    model = nn.Sequential(down_block(1, 8), down_block(8, 16), nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=context["initial_lr"])
    cfg = context["lr_scheduler"]
    scheduler = StepLR(optimizer, step_size=cfg["step_size"], gamma=cfg["gamma"])
    loss_fct = nn.CrossEntropyLoss()

    for epoch in range(1, context["num_epochs"] + 1):
        lr = optimizer.param_groups[0]["lr"]
        model.train()
        train_loss_total, num_samples = 0.0, 0
        for images, gt in train_loader:
            loss = loss_fct(model(images), gt)
            train_loss_total += loss.item() * len(gt)
            num_samples += len(gt)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        print(f"Epoch {epoch} lr {lr:.2e} training loss: {train_loss_total / num_samples:.4f}", end=" ")
        model.eval()
        hits = 0
        with torch.no_grad():
            for images, gt in val_loader:
                hits += (model(images).argmax(1) == gt).sum().item()
        print(f"validation accuracy: {hits / len(val_loader.dataset):.4f}")


if __name__ == "__main__":
    cmd_train(context)
