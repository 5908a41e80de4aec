"""What an expert writes by hand: tensors in memory, no progress, no figures."""

import torch
from torch import nn

from peer.watch import BATCH, stamped
from truefit import ConvNet


def prepare(images, labels):
    stamps = []
    network = stamped(ConvNet(), stamps)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()

    def epoch():
        stamps.clear()
        network.train()
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss = loss_function(network(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
        return stamps

    return epoch
