"""What the class reaches on CIFAR-10 with its defaults: ten epochs, batch 64, validated on the test images.

    python benchmarks/class_door.py FOLDER [--seeds 0 1 2] [--threads 2] [--keep EVALUATIONS] [--held-out 5000]

FOLDER holds train/ and test/ of CIFAR-10, JPEG edition. Nothing is chosen on the test images: the figure is that
of epoch 10, whatever it is. --keep saves each seed's evaluation on test there, for `truefit compare`. --held-out trains
on so many images fewer, fits a temperature on those, and tells calibration error and loss on test before and after, in
results/class_door_calibrated.json.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from protocol import RESULTS, cifar10, save
from scipy.special import softmax
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from truefit import ConvNet, ConvolutionalNeuralNet, ImageSet, accuracy, evaluate, load_data
from truefit.calibrating import calibrate_logits
from truefit.metrics import calibration
from truefit.metrics.temperature import cross_entropy

EPOCHS, BATCH = 10, 64


def tensors(images: ImageSet) -> TensorDataset:
    """Floats 0..1, (n, 3, 32, 32), as ToTensor gives them."""
    pixels = torch.from_numpy(images.read(range(len(images))))
    return TensorDataset(pixels.permute(0, 3, 1, 2).contiguous().float() / 255, torch.from_numpy(images.labels))


def outputs(network: nn.Module, images: TensorDataset | Subset[tuple[torch.Tensor, ...]]) -> tuple[np.ndarray, ...]:
    """Logits (n, 10) and labels (n,), in eval mode."""
    network.eval()
    with torch.no_grad():
        batches = [(network(x), y) for x, y in DataLoader(images, batch_size=500)]
    return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()


def calibrated(seed: int, training: TensorDataset, test: TensorDataset, held_out: int) -> None:
    """One training without the held-out images, and what a temperature fitted on these does on test."""
    torch.manual_seed(seed)
    rows = torch.randperm(len(training)).tolist()
    chosen, rest = Subset(training, rows[:held_out]), Subset(training, rows[held_out:])
    model = ConvolutionalNeuralNet(ConvNet())
    model.train(nn.CrossEntropyLoss(), EPOCHS, BATCH, rest, chosen)
    found = calibrate_logits(*outputs(model.network, chosen), split="validation")
    logits, labels = outputs(model.network, test)
    figures = {}
    for name, temperature in (("before", 1.0), ("after", found.temperature)):
        scores = logits.astype(np.float64) / temperature
        figures[name] = {
            "calibration_error": calibration.expected_error(softmax(scores, axis=1), labels, scores.argmax(axis=1)),
            "loss": cross_entropy(scores, labels),
        }
    save(
        "class_door_calibrated",
        f"the class with its defaults, 10 epochs, {len(rest):,} training images; temperature fitted on {held_out:,} "
        "others; CIFAR-10 JPEG edition, measured once on the 10,000 test images",
        {
            "seed": seed,
            "temperature": found.temperature,
            "test": figures,
            "test_accuracy": accuracy(model.network, test),
            "changed_classes": int(np.sum(logits.argmax(1) != (logits / np.float64(found.temperature)).argmax(1))),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--held-out", type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_data(cifar10(options.folder), val_fraction=0)
    assert data.test is not None
    training_set, validation_set = tensors(data.train), tensors(data.test)
    if options.held_out:
        calibrated(options.seeds[0], training_set, validation_set, options.held_out)
        return
    path = RESULTS / "class_door.json"
    runs = json.loads(path.read_text())["runs"] if path.is_file() else {}
    for seed in options.seeds:
        torch.manual_seed(seed)
        model = ConvolutionalNeuralNet(ConvNet())
        log = model.train(nn.CrossEntropyLoss(), EPOCHS, BATCH, training_set, validation_set)
        per_epoch = math.ceil(len(training_set) / BATCH)
        if options.keep:
            evaluate(model.network, data.test).save(options.keep / f"seed-{seed}")
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
