# After stefanopini/simple-HRNet#79
import os
import tempfile

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


def backbone():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )


class Classifier(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.backbone = backbone()
        self.head = nn.Linear(128, n)

    def forward(self, x):
        return self.head(self.backbone(x))


def fit(model, x, y, epochs, params, lr=2e-3):
    opt = torch.optim.Adam(params, lr=lr)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(y)).split(32):
            opt.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            opt.step()


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
low = y < 5

# source task: digits 0-4, saved from a wrapped model
source = Classifier(5)
fit(source, x[low], y[low], 4, source.parameters())
path = os.path.join(tempfile.mkdtemp(), "pretrained.pth")
torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)

# target task: digits 5-9, 150 labels
xt, yt = x[~low], y[~low] - 5
model = Classifier(5)
state = torch.load(path)["state_dict"]
state = {k.removeprefix("module."): v for k, v in state.items() if "head" not in k}
model.load_state_dict(state, strict=False)
for p in model.backbone.parameters():
    p.requires_grad_(False)
fit(model, xt[:150], yt[:150], 20, model.head.parameters(), 1e-2)
print("accuracy on the target task", round(accuracy(model, xt[150:], yt[150:]), 4))
