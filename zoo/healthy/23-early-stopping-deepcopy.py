"""Early stopping on the validation set, a deep copy of the best state, the test set once at the end."""
import copy
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class EarlyStopping:
    def __init__(self, patience=2):
        self.patience, self.best, self.bad, self.state = patience, float("inf"), 0, None

    def __call__(self, loss, model):
        if loss < self.best:
            self.best, self.bad, self.state = loss, 0, copy.deepcopy(model.state_dict())
        else:
            self.bad += 1
        return self.bad >= self.patience


def run_eval(model, loader):
    model.eval()
    loss = hits = 0
    with torch.no_grad():
        for a, b in loader:
            out = model(a)
            loss += nn.functional.cross_entropy(out, b, reduction="sum").item()
            hits += (out.argmax(1) == b).sum().item()
    return loss / len(loader.dataset), hits / len(loader.dataset)


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
train, val, test = random_split(TensorDataset(torch.tensor(d.data).float() / 16, torch.tensor(d.target)), [1000, 397, 400])
train_dl, val_dl, test_dl = DataLoader(train, 32, shuffle=True), DataLoader(val, 100), DataLoader(test, 100)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
opt = torch.optim.Adam(model.parameters(), lr=1e-2)
stopper = EarlyStopping()
for epoch in range(20):
    model.train()
    for a, b in train_dl:
        opt.zero_grad()
        nn.functional.cross_entropy(model(a), b).backward()
        opt.step()
    loss, acc = run_eval(model, val_dl)
    print(f"epoch {epoch} val loss {loss:.4f} acc {acc:.4f}")
    if stopper(loss, model):
        break
model.load_state_dict(stopper.state)
print("test", run_eval(model, test_dl))
