"""`truefit init [FILE]`: a training script of your own, on top of the three functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from truefit.commands.arguments import parse
from truefit.errors import InputError

SCRIPT = '''"""Trains a classifier on {about}. This file is yours: change whatever you like."""

import torch
from torch import nn

from truefit import ConvNet, accuracy, load_data, train, validate

EPOCHS = {epochs}
BATCH_SIZE = 64

torch.manual_seed(0)  # another number, other initial weights and another order

data = load_data({data!r}, image_size=32)  # images of 3 x 32 x 32, split into train, validation and test
network = ConvNet(num_classes=len(data.classes))  # or any network of yours that gives logits
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
loss_function = nn.CrossEntropyLoss()  # takes what the network gives: no softmax before it

best = 0.0
for epoch in range(EPOCHS):
    training_losses = train(network, data.train, BATCH_SIZE, optimizer, loss_function)
    validation_losses = validate(network, data.validation, BATCH_SIZE, loss_function)
    score = accuracy(network, data.validation)
    print(
        f"epoch {{epoch + 1}}: training loss {{sum(training_losses) / len(training_losses):.3f}}, "
        f"validation loss {{sum(validation_losses) / len(validation_losses):.3f}}, validation accuracy {{score:.3f}}"
    )
    if score > best:  # validation chooses; test is looked at once, in the end
        best = score
        torch.save(network.state_dict(), "best.pt")

if data.test is not None:
    network.load_state_dict(torch.load("best.pt", weights_only=True))
    print(f"test accuracy {{accuracy(network, data.test):.3f}}, n = {{len(data.test)}}")
'''


@dataclass(frozen=True, kw_only=True)
class InitCommand:
    """Write a small training script to begin from. It needs truefit's three functions and nothing else of it."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="[FILE]")] = Path("train.py")
    """Where to write it."""
    data: str = "digits"
    """What it trains on: a name such as digits, or a folder of images."""
    epochs: int = 5
    """How often it goes through the training set."""
    overwrite: bool = False
    """Replace a file that is there."""


def main(arguments: Sequence[str]) -> int:
    """Parse, write, say what to do next."""
    command = parse(InitCommand, "init", arguments)
    if command.file.exists() and not command.overwrite:
        raise InputError("the file is there already", where=command.file, fix="another name, or --overwrite")
    about = command.data.replace("\\", "/").replace('"', "'")
    text = SCRIPT.format(data=command.data, about=about, epochs=command.epochs)
    try:
        command.file.parent.mkdir(parents=True, exist_ok=True)
        command.file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("the file can't be written", where=command.file, found=error.strerror) from error
    print(f"written: {command.file}")
    print(f"  python {command.file}                      # trains")
    print(f"  truefit doctor run {command.file}          # looks for silent bugs, whatever you change")
    return 0
