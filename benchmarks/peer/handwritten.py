"""The class that people write after a tutorial: DataLoaders, Adam, and accuracy counted anew after each epoch."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from truefit import ConvNet


def initialise(layer):
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        layer.bias.data.fill_(0.01)


def accuracy(network, dataset):
    network.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in DataLoader(dataset, batch_size=64):
            correct += (network(images).argmax(dim=1) == labels).sum().item()
    return round(correct / len(dataset), 3)


class Classifier:
    def __init__(self):
        self.network = ConvNet()
        self.network.apply(initialise)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.loss_function = nn.CrossEntropyLoss()
        self.log = {"training_loss_per_batch": [], "validation_loss_per_batch": []}

    def epoch(self, training_set, validation_set):
        """One epoch with all that is printed after it: (training accuracy, validation accuracy)."""
        self.network.train()
        for images, labels in DataLoader(training_set, batch_size=64, shuffle=True):
            self.optimizer.zero_grad()
            loss = self.loss_function(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            self.log["training_loss_per_batch"].append(loss.item())
        self.network.eval()
        with torch.no_grad():
            for images, labels in DataLoader(validation_set, batch_size=64):
                self.log["validation_loss_per_batch"].append(self.loss_function(self.network(images), labels).item())
        return accuracy(self.network, training_set), accuracy(self.network, validation_set)
