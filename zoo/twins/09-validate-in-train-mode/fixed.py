# After wolny/pytorch-3dunet#53
import logging
import os
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
logger = logging.getLogger("UNetTrainer")


class RunningAverage:
    def __init__(self):
        self.count, self.sum, self.avg = 0, 0, 0

    def update(self, value, n=1):
        self.count += n
        self.sum += value * n
        self.avg = self.sum / self.count


class Encoder(nn.Module):
    def __init__(self, num_classes=10, f=16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, f, 3, padding=1), nn.BatchNorm2d(f), nn.ELU(), nn.MaxPool2d(2),
            nn.Conv2d(f, 2 * f, 3, padding=1), nn.BatchNorm2d(2 * f), nn.ELU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.4), nn.Linear(8 * f, num_classes),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


class Trainer:
    def __init__(self, model, optimizer, loss_criterion, loaders, max_num_epochs=3, log_after_iters=20):
        self.model = model
        self.optimizer = optimizer
        self.loss_criterion = loss_criterion
        self.loaders = loaders
        self.max_num_epochs = max_num_epochs
        self.log_after_iters = log_after_iters
        self.num_iterations = 1

    def fit(self):
        for self.epoch in range(self.max_num_epochs):
            self.train(self.loaders["train"])
            self.validate(self.loaders["val"])

    def train(self, train_loader):
        train_losses = RunningAverage()
        self.model.train()
        for input, target in train_loader:
            output, loss = self._forward_pass(input, target)
            train_losses.update(loss.item(), len(input))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.num_iterations % self.log_after_iters == 0:
                logger.info(f"iteration {self.num_iterations}  loss {train_losses.avg:.4f}")
            self.num_iterations += 1

    def validate(self, val_loader):
        val_losses = RunningAverage()
        val_scores = RunningAverage()
        self.model.eval()
        with torch.no_grad():
            for input, target in val_loader:
                output, loss = self._forward_pass(input, target)
                val_losses.update(loss.item(), len(input))
                val_scores.update((output.argmax(1) == target).float().mean().item(), len(input))
        logger.info(f"Validation finished. Loss: {val_losses.avg:.4f}. Evaluation score: {val_scores.avg:.4f}")

    def _forward_pass(self, input, target):
        output = self.model(input)
        return output, self.loss_criterion(output, target)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    data = load_digits()
    full = TensorDataset(torch.tensor(data.images / 16.0).float().unsqueeze(1), torch.tensor(data.target).long())
    order = torch.randperm(len(full)).tolist()
    loaders = {
        "train": DataLoader(Subset(full, order[:1300]), batch_size=32, shuffle=True),
        "val": DataLoader(Subset(full, order[1300:]), batch_size=32, shuffle=False),
    }
    model = Encoder()
    trainer = Trainer(model, torch.optim.Adam(model.parameters(), lr=0.002), nn.CrossEntropyLoss(), loaders)
    trainer.fit()


if __name__ == "__main__":
    main()
