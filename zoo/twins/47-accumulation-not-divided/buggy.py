# After agokrani/distillKitPlus#5
import argparse
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ap = argparse.ArgumentParser()
ap.add_argument("--gradient_accumulation_steps", type=int, default=8)
ap.add_argument("--per_device_train_batch_size", type=int, default=8)
ap.add_argument("--learning_rate", type=float, default=0.15)
ap.add_argument("--num_train_epochs", type=int, default=4)
args = ap.parse_args()

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
train_dataloader = DataLoader(TensorDataset(x[p[:1408]], y[p[:1408]]), args.per_device_train_batch_size, shuffle=True)
eval_dataloader = DataLoader(TensorDataset(x[p[1408:]], y[p[1408:]]), 128)

model = nn.Sequential(
    nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10)
)
optimizer = torch.optim.SGD(model.parameters(), lr=args.learning_rate, momentum=0.8)

for epoch in range(args.num_train_epochs):
    model.train()
    for step, (images, labels) in enumerate(train_dataloader):
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        if (step + 1) % args.gradient_accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
        if step % 80 == 0:
            print(f"epoch {epoch} step {step} loss {loss.item():.3f}")
    model.eval()
    with torch.no_grad():
        acc = sum((model(a).argmax(1) == b).sum().item() for a, b in eval_dataloader) / len(eval_dataloader.dataset)
    print(f"eval_accuracy {acc:.4f}")
