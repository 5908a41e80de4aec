"""PyTorch-Ignite: trainer and evaluator engines."""
import os

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = torch.tensor(d.images[:, None]).float() / 16, torch.tensor(d.target)
p = torch.randperm(len(y))
train_loader = DataLoader(TensorDataset(x[p[:1400]], y[p[:1400]]), 50, shuffle=True)
val_loader = DataLoader(TensorDataset(x[p[1400:]], y[p[1400:]]), 100)
model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(576, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
criterion = nn.CrossEntropyLoss()
trainer = create_supervised_trainer(model, optimizer, criterion)
evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy(), "loss": Loss(criterion)})


@trainer.on(Events.EPOCH_COMPLETED)
def log_validation(engine):
    evaluator.run(val_loader)
    print(f"epoch {engine.state.epoch}: {evaluator.state.metrics}")


trainer.run(train_loader, max_epochs=3)
