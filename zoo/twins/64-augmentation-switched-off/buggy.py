# After growingnet/gromo#58
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms

train_transform = transforms.Compose([transforms.RandomAffine(10, translate=(0.1, 0.1)), transforms.RandomErasing(0.3)])


class Digits(Dataset):
    def __init__(self, transform=None):
        d = load_digits()
        self.data, self.targets, self.transform = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target), transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        img = self.data[i]
        return (self.transform(img) if self.transform else img), self.targets[i]


def get_datasets(seed):
    g = torch.Generator().manual_seed(seed)
    train, val = random_split(Digits(train_transform), [1400, 397], generator=g)
    val.dataset.transform = None
    return train, val


seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
train_set, val_set = get_datasets(seed)
train_loader, val_loader = DataLoader(train_set, 50, shuffle=True), DataLoader(val_set, 200)
model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(3):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        acc = sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader) / len(val_set)
    print(f"epoch {epoch}: train loss {loss.item():.4f}, val accuracy {acc:.4f}")
