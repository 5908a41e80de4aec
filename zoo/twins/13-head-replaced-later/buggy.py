# After facebookresearch/mmf#104
import os
import random

import numpy as np
import torch
import torch.nn as nn
import torchvision
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm


class CFG:
    seed = int(os.environ.get("SEED", 0))
    epochs = 3
    batch_size = 32
    lr = 1e-3
    num_classes = 3


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def make_data(n):
    y = np.random.randint(0, CFG.num_classes, n)
    x = np.random.randn(n, 3, 24, 24).astype(np.float32)
    for i in range(n):
        r, c = np.random.randint(0, 12, 2)
        x[i, y[i], r : r + 12, c : c + 12] += 0.9
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


def train_fn(loader, model, criterion, optimizer):
    model.train()
    bar = tqdm(loader, leave=False, disable=True)
    for images, labels in bar:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=loss.item())
    return loss.item()


def valid_fn(loader, model):
    model.eval()
    preds, labels = [], []
    with torch.no_grad():
        for x, y in loader:
            preds.append(model(x).argmax(1).numpy())
            labels.append(y.numpy())
    return (np.concatenate(preds) == np.concatenate(labels)).mean()


seed_everything(CFG.seed)
train_loader = DataLoader(make_data(600), batch_size=CFG.batch_size, shuffle=True)
valid_loader = DataLoader(make_data(200), batch_size=CFG.batch_size * 2, shuffle=False)

model = torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
optimizer = torch.optim.AdamW(model.parameters(), lr=CFG.lr, weight_decay=1e-2)
model.fc = nn.Linear(model.fc.in_features, CFG.num_classes)
criterion = nn.CrossEntropyLoss()

for epoch in range(CFG.epochs):
    avg_loss = train_fn(train_loader, model, criterion, optimizer)
    score = valid_fn(valid_loader, model)
    print(f"Epoch {epoch + 1} - loss: {avg_loss:.4f} - accuracy: {score:.4f}")
