# After rixwew/pytorch-fm#21
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split


class FieldNetwork(torch.nn.Module):
    def __init__(self, input_dim, embed_dims, dropout):
        super().__init__()
        dims = [input_dim, *embed_dims]
        self.layers = torch.nn.ModuleList([torch.nn.Linear(a, b) for a, b in zip(dims, dims[1:])])
        self.out = torch.nn.Linear(dims[-1], 10)
        self.dropout = dropout

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
            x = F.dropout(x, p=self.dropout, training=self.training)
        return self.out(x)


def train(model, optimizer, data_loader, criterion):
    model.train()
    for fields, target in data_loader:
        y = model(fields)
        loss = criterion(y, target)
        model.zero_grad()
        loss.backward()
        optimizer.step()


def test(model, data_loader):
    model.eval()
    targets, predicts = [], []
    with torch.no_grad():
        for fields, target in data_loader:
            y = model(fields)
            targets.extend(target.tolist())
            predicts.extend(y.argmax(1).tolist())
    return sum(a == b for a, b in zip(targets, predicts)) / len(targets)


def main(epoch=6, learning_rate=3e-3, batch_size=64, weight_decay=1e-6):
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    d = load_digits()
    dataset = TensorDataset(torch.tensor(d.data, dtype=torch.float32) / 16, torch.tensor(d.target))
    train_dataset, valid_dataset, test_dataset = random_split(dataset, (1200, 200, 397))
    train_data_loader = DataLoader(train_dataset, batch_size=batch_size, shuffle=True)
    valid_data_loader = DataLoader(valid_dataset, batch_size=batch_size)
    test_data_loader = DataLoader(test_dataset, batch_size=batch_size)
    model = FieldNetwork(64, (128, 64), dropout=0.3)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(params=model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    for epoch_i in range(epoch):
        train(model, optimizer, train_data_loader, criterion)
        print("epoch:", epoch_i, "validation: accuracy:", test(model, valid_data_loader))
    print("test accuracy:", test(model, test_data_loader))


if __name__ == "__main__":
    main()
