"""fastai: a Learner over its own DataLoaders, one epoch at a constant rate."""

from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import Adam
from torch import nn
from torch.utils.data import TensorDataset

from peer.watch import BATCH, stamped
from truefit import ConvNet


def prepare(images, labels):
    stamps = []
    data = TensorDataset(images, labels)
    loaders = DataLoaders(
        DataLoader(data, bs=BATCH, shuffle=True, num_workers=0), DataLoader(data, bs=BATCH, num_workers=0)
    )
    learner = Learner(loaders, stamped(ConvNet(), stamps), loss_func=nn.CrossEntropyLoss(), opt_func=Adam, lr=1e-3)
    learner.validate = lambda *a, **k: None

    def epoch():
        stamps.clear()
        learner.fit(1)
        # fastai validates after each epoch whether asked or not: only the training steps count.
        return stamps[: -(-len(data) // BATCH)]

    return epoch
