"""Lightning: a LightningModule and its Trainer with its defaults, but for files and saved weights."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from peer.watch import BATCH, stamped
from truefit import ConvNet


class Module(lightning.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network, self.loss_function = network, nn.CrossEntropyLoss()

    def training_step(self, batch, batch_index):
        images, labels = batch
        loss = self.loss_function(self.network(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def prepare(images, labels):
    stamps = []
    module = Module(stamped(ConvNet(), stamps))
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)

    def epoch():
        stamps.clear()
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False
        )
        trainer.fit(module, loader)
        return stamps

    return epoch
