"""Hugging Face accelerate: prepare, backward, gather_for_metrics."""
import os

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    set_seed(int(os.environ.get("SEED", 0)))
    accelerator = Accelerator(cpu=True)
    d = load_digits()
    x, y = torch.tensor(d.data).float() / 16, torch.tensor(d.target)
    train, val = DataLoader(TensorDataset(x[:1400], y[:1400]), 50, shuffle=True), DataLoader(TensorDataset(x[1400:], y[1400:]), 100)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    model, optimizer, train, val = accelerator.prepare(model, optimizer, train, val)
    for epoch in range(5):
        model.train()
        for a, b in train:
            loss = nn.functional.cross_entropy(model(a), b)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        hits = total = 0
        for a, b in val:
            with torch.no_grad():
                pred, ref = accelerator.gather_for_metrics((model(a).argmax(1), b))
            hits, total = hits + (pred == ref).sum().item(), total + len(ref)
        accelerator.print(f"epoch {epoch}: {hits / total:.4f}")


if __name__ == "__main__":
    main()
