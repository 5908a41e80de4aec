# After PolymathicAI/the_well#77
import os
import sys
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, folder, max_epoch, lr=0.01):
        self.folder, self.max_epoch, self.starting_epoch = folder, max_epoch, 1
        self.model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)
        self.lr_scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, 0.5)
        d = load_digits()
        x, y = torch.tensor(d.data / 16).float(), torch.tensor(d.target)
        p = torch.randperm(len(y), generator=torch.Generator().manual_seed(8))
        self.train_loader = DataLoader(TensorDataset(x[p[:1300]], y[p[:1300]]), 50, shuffle=True)
        self.val_loader = DataLoader(TensorDataset(x[p[1300:]], y[p[1300:]]), 100)

    def save_model(self, epoch):
        torch.save(
            {
                "epoch": epoch,
                "model_state_dict": self.model.state_dict(),
                "optimizer_state_dict": self.optimizer.state_dict(),
                "scheduler_state_dict": self.lr_scheduler.state_dict(),
            },
            os.path.join(self.folder, "recent.pt"),
        )

    def load_checkpoint(self):
        checkpoint = torch.load(os.path.join(self.folder, "recent.pt"))
        self.model.load_state_dict(checkpoint["model_state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        self.lr_scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
        self.starting_epoch = checkpoint["epoch"] + 1

    def train(self):
        for epoch in range(self.starting_epoch, self.max_epoch + 1):
            self.model.train()
            for x, y in self.train_loader:
                self.optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.model(x), y)
                loss.backward()
                self.optimizer.step()
            print(f"Epoch {epoch}: lr {self.optimizer.param_groups[0]['lr']:.5f} val accuracy {self.validate():.4f}")
            self.lr_scheduler.step()
            self.save_model(epoch)

    def validate(self):
        self.model.eval()
        with torch.no_grad():
            return sum((self.model(x).argmax(1) == y).sum().item() for x, y in self.val_loader) / len(self.val_loader.dataset)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    with tempfile.TemporaryDirectory() as folder:
        Trainer(folder, max_epoch=3).train()
        print("-- the job was preempted, starting again")
        second = Trainer(folder, max_epoch=6)
        second.load_checkpoint()
        second.train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
