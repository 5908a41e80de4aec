"""A convolutional network in the style of a first tutorial, with the mistakes that such scripts make."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16 * 16, 4)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        x = self.pool(torch.relu(self.norm1(self.conv1(x))))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.softmax(self.head(self.drop(x.flatten(1))))


class Classifier:
    def __init__(self, network):
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def accuracy(self, dataset):
        self.network.eval()
        hits = 0
        with torch.no_grad():
            for images, labels in DataLoader(dataset, batch_size=64):
                hits += (self.network(images).argmax(1) == labels).sum().item()
        return hits / len(dataset)

    def train(self, loss_function, epochs, batch_size, training_set, validation_set):
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                layer.bias.data.fill_(0.01)
        self.network.train()
        training_loader = DataLoader(training_set, batch_size=batch_size)
        validation_loader = DataLoader(validation_set, batch_size=batch_size)
        for epoch in range(epochs):
            for images, labels in training_loader:
                self.optimizer.zero_grad()
                loss = loss_function(self.network(images), labels)
                loss.backward()
                self.optimizer.step()
            with torch.no_grad():
                losses = [loss_function(self.network(images), labels).item() for images, labels in validation_loader]
            print(epoch, sum(losses) / len(losses), self.accuracy(training_set), self.accuracy(validation_set))


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    pictures = torch.rand(count, 3, 16, 16, generator=generator)
    pictures[torch.arange(count), labels % 3] += labels[:, None, None] * 0.2
    return TensorDataset(pictures, labels)


if __name__ == "__main__":
    torch.manual_seed(0)
    training_set, test_set = images(200, 1), images(80, 2)
    model = Classifier(ConvNet())
    model.train(nn.CrossEntropyLoss(), 2, 20, training_set, test_set)
    model.train(nn.CrossEntropyLoss(), 2, 20, training_set, test_set)
    if len(sys.argv) > 1:
        torch.save(model.network.state_dict(), sys.argv[1])
