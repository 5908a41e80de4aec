"""What the class reaches on CIFAR-10 with its defaults: ten epochs, batch 64, validated on the test images.

    python benchmarks/class_door.py FOLDER [--seeds 0 1 2] [--threads 2]

FOLDER holds train/ and test/ of CIFAR-10, JPEG edition. Nothing is chosen on the test images: the figure is that
of epoch 10, whatever it is.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from protocol import RESULTS, cifar10, save
from torch import nn
from torch.utils.data import TensorDataset

from truefit import ConvNet, ConvolutionalNeuralNet, ImageSet, load_data

EPOCHS, BATCH = 10, 64


def tensors(images: ImageSet) -> TensorDataset:
    """Floats 0..1, (n, 3, 32, 32), as ToTensor gives them."""
    pixels = torch.from_numpy(images.read(range(len(images))))
    return TensorDataset(pixels.permute(0, 3, 1, 2).contiguous().float() / 255, torch.from_numpy(images.labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_data(cifar10(options.folder), val_fraction=0)
    assert data.test is not None
    training_set, validation_set = tensors(data.train), tensors(data.test)
    path = RESULTS / "class_door.json"
    runs = json.loads(path.read_text())["runs"] if path.is_file() else {}
    for seed in options.seeds:
        torch.manual_seed(seed)
        model = ConvolutionalNeuralNet(ConvNet())
        log = model.train(nn.CrossEntropyLoss(), EPOCHS, BATCH, training_set, validation_set)
        per_epoch = math.ceil(len(training_set) / BATCH)
        losses = log["training_loss_per_batch"]
        assert len(losses) == EPOCHS * per_epoch
        assert len(log["validation_loss_per_batch"]) == EPOCHS * math.ceil(len(validation_set) / BATCH)
        runs[str(seed)] = {
            "validation_accuracy_per_epoch": log["validation_accuracy_per_epoch"],
            "training_accuracy_per_epoch": log["training_accuracy_per_epoch"],
            "training_loss_per_epoch": [
                round(sum(losses[e * per_epoch : (e + 1) * per_epoch]) / per_epoch, 4) for e in range(EPOCHS)
            ],
        }
        final = [run["validation_accuracy_per_epoch"][-1] for run in runs.values()]
        save(
            "class_door",
            "ConvolutionalNeuralNet(ConvNet()).train(nn.CrossEntropyLoss(), 10, 64, ...) with its defaults; CIFAR-10 "
            "JPEG edition, 50,000 training images, validated on the 10,000 test images after each epoch; figure of "
            "epoch 10, nothing chosen",
            {"runs": runs, "epoch_10_mean": sum(final) / len(final), "seeds": len(final)},
        )


if __name__ == "__main__":
    main()
