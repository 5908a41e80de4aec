"""The average of the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from parts import recipe, train

from helpers import image_set, tiny_network
from truefit import Trainer, load
from truefit.optim.averaging import WeightAverage
from truefit.recipes.recipe import EmaConfig


def test_average_follows_its_formula_with_batchnorms_statistics_in_it() -> None:
    network = tiny_network(batchnorm=True)
    average = WeightAverage(network, EmaConfig(decay=0.9, every=2))
    wanted = {name: tensor.double().clone() for name, tensor in network.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    for step in range(1, 61):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape, generator=draw) * 10)
        average.step()
        if step % 2 == 0:
            decay = min(0.9, (1 + step // 2) / (10 + step // 2))
            for name, tensor in network.state_dict().items():
                new = tensor.double()
                wanted[name] = decay * wanted[name] + (1 - decay) * new if tensor.is_floating_point() else new
    for name, tensor in average.network.state_dict().items():
        torch.testing.assert_close(tensor.double(), wanted[name], rtol=1e-4, atol=1e-4)


def test_the_averaged_weights_are_measured_and_kept_and_the_raw_ones_are_last(tmp_path: Path) -> None:
    how = recipe("sgd", ema=True, epochs=2)
    run = Trainer(tiny_network(batchnorm=True), how).fit(image_set(22), out=tmp_path / "ema")
    raw = Trainer(tiny_network(batchnorm=True), recipe("sgd", epochs=2)).fit(image_set(22), out=tmp_path / "raw")
    from safetensors.torch import load_file

    last = load_file(tmp_path / "ema" / "model" / "last" / "weights.safetensors")
    # Averaging changes nothing in training itself.
    assert all(torch.equal(last[name], tensor) for name, tensor in raw.network.state_dict().items())
    kept = run.network.state_dict()
    assert not torch.equal(kept["0.weight"], last["0.weight"])
    assert not torch.equal(kept["1.running_mean"], last["1.running_mean"])
    again = load(tmp_path / "ema", network=tiny_network(batchnorm=True))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in again.network.state_dict().items())


def test_validation_measures_the_averaged_weights(tmp_path: Path) -> None:
    run = train(recipe("sgd", ema=True, epochs=1))
    assert run.evaluation is not None
    assert run.history[0]["validation_loss"] == run.evaluation.loss
    assert run.evaluation.loss != train(recipe("sgd", epochs=1)).history[0]["validation_loss"]
