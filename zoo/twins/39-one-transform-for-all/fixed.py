# After udacity/deep-learning-v2-pytorch#132
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
rng = np.random.RandomState(seed)


def draw(kind):
    img = rng.normal(110, 35, (32, 32, 3))
    y, x = rng.randint(4, 16, 2)
    if kind == "cat":
        img[y : y + 12 : 3, x : x + 12] += 90
    elif kind == "dog":
        img[y : y + 12, x : x + 12 : 3] += 90
    else:
        img[y : y + 12, x : x + 12] += 60
    return Image.fromarray(img.clip(0, 255).astype(np.uint8))


tmp = tempfile.TemporaryDirectory()
data_dir = Path(tmp.name)
for part, n in (("train", 130), ("valid", 60)):
    for kind in ("cat", "dog", "horse"):
        (data_dir / part / kind).mkdir(parents=True)
        for i in range(n):
            draw(kind).save(data_dir / part / kind / f"{i}.png")

# convert data to a normalized torch.FloatTensor
transform = transforms.Compose([
    transforms.RandomHorizontalFlip(),  # randomly flip and rotate
    transforms.RandomResizedCrop(24, scale=(0.6, 1.0)),
    transforms.ToTensor(),
    transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
])  # fmt: skip
plain = transforms.Compose([transforms.Resize(24), transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
train_data = datasets.ImageFolder(data_dir / "train", transform=transform)
valid_data = datasets.ImageFolder(data_dir / "valid", transform=plain)
train_loader = DataLoader(train_data, batch_size=20, shuffle=True)
valid_loader = DataLoader(valid_data, batch_size=20)

model = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2),
    nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2),
    nn.Flatten(), nn.Dropout(0.25), nn.Linear(128, 3),
)  # fmt: skip
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.004)

for epoch in range(1, 5):
    train_loss = 0.0
    valid_loss = 0.0
    class_correct = 0
    model.train()
    for data, target in train_loader:
        optimizer.zero_grad()
        output = model(data)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * data.size(0)
    model.eval()
    with torch.no_grad():
        for data, target in valid_loader:
            output = model(data)
            valid_loss += criterion(output, target).item() * data.size(0)
            class_correct += (output.argmax(1) == target).sum().item()
    train_loss = train_loss / len(train_loader.sampler)
    valid_loss = valid_loss / len(valid_loader.sampler)
    print("Epoch: {} \tTraining Loss: {:.6f} \tValidation Loss: {:.6f} \tAccuracy: {:.3f}".format(
        epoch, train_loss, valid_loss, class_correct / len(valid_data)))  # fmt: skip
tmp.cleanup()
