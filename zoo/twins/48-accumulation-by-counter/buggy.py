# After hirofumi0810/neural_sp#168
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Encoder(nn.Module):
    def __init__(self, d=40):
        super().__init__()
        self.inp = nn.Linear(8, d)
        self.pe = nn.Parameter(torch.zeros(1, 8, d))
        self.enc = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d, 4, 80, 0.0, batch_first=True), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(8 * d, 10)

    def forward(self, rows):
        return self.head(self.enc(self.inp(rows) + self.pe).flatten(1))


class Trainer:
    accum_grad_n_steps = 4

    def __init__(self, model, train_set, dev_set):
        self.model, self.train_set, self.dev_set = model, train_set, dev_set
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.08, momentum=0.9)
        self.n_accum = 0

    def train_one_step(self, batch):
        xs, ys = batch
        loss = nn.functional.cross_entropy(self.model(xs), ys)
        self.n_accum += 1
        loss.backward()
        if self.n_accum >= self.accum_grad_n_steps:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.n_accum = 0
        return loss.item()

    def train(self, n_epochs):
        for ep in range(n_epochs):
            self.model.train()
            losses = [self.train_one_step(b) for b in DataLoader(self.train_set, 16, shuffle=True, drop_last=True)]
            print(f"EPOCH:{ep + 1} loss(train):{sum(losses) / len(losses):.3f} acc(dev):{self.evaluate():.3f}")

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        ok = 0
        for xs, ys in DataLoader(self.dev_set, 200):
            ok += (self.model(xs).argmax(-1) == ys).sum().item()
        return ok / len(self.dev_set)


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    d = load_digits()
    x, y = torch.tensor(d.images, dtype=torch.float32) / 16, torch.tensor(d.target)
    i = torch.randperm(len(y))
    Trainer(Encoder(), TensorDataset(x[i[:1408]], y[i[:1408]]), TensorDataset(x[i[1408:]], y[i[1408:]])).train(5)
