# After WenjieDu/PyPOTS#667
import os
from typing import Optional

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class BaseNNModel:
    def __init__(self, batch_size: int = 32, epochs: int = 12, patience: Optional[int] = 3, lr: float = 0.02):
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.best_model_dict = None
        self.best_loss = float("inf")
        self.model = torch.nn.Sequential(
            torch.nn.Linear(64, 96), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(96, 10)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)

    def _train_model(self, training_loader: DataLoader, val_loader: DataLoader) -> None:
        patience = self.patience
        for epoch in range(self.epochs):
            self.model.train()
            epoch_loss = []
            for X, y in training_loader:
                self.optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(self.model(X), y)
                loss.backward()
                self.optimizer.step()
                epoch_loss.append(loss.item())

            self.model.eval()
            total = 0.0
            with torch.no_grad():
                for X, y in val_loader:
                    total += torch.nn.functional.cross_entropy(self.model(X), y, reduction="sum").item()
            mean_val_loss = total / len(val_loader.dataset)
            print(f"Epoch {epoch:03d} - training loss: {np.mean(epoch_loss):.4f}, validation loss: {mean_val_loss:.4f}")

            if mean_val_loss < self.best_loss:
                self.best_loss = mean_val_loss
                self.best_model_dict = self.model.state_dict()
                patience = self.patience
            else:
                patience -= 1
                if patience == 0:
                    print("Exceeded the training patience. Terminating the training procedure...")
                    break
        self.model.load_state_dict(self.best_model_dict)
        self.model.eval()

    def fit(self, train_set, val_set):
        self._train_model(DataLoader(train_set, self.batch_size, shuffle=True), DataLoader(val_set, self.batch_size))

    def classify(self, X: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return self.model(X).argmax(dim=1).numpy()


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X / 16, dtype=torch.float32)
    y = torch.tensor(y)
    p = torch.randperm(len(y))
    fold = {"train": p[:1000], "val": p[1000:1400], "test": p[1400:]}
    clf = BaseNNModel()
    clf.fit(TensorDataset(X[fold["train"]], y[fold["train"]]), TensorDataset(X[fold["val"]], y[fold["val"]]))
    acc = (clf.classify(X[fold["test"]]) == y[fold["test"]].numpy()).mean()
    print(f"Testing accuracy: {acc:.4f} (best validation loss {clf.best_loss:.4f})")
