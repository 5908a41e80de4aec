"""The average of the weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import assert_same_run, broken_off, recipe, train
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import TensorDataset

from helpers import image_set, tiny_network
from truefit import Trainer, load
from truefit.events import EpochFinished, Event
from truefit.fitting.timing import Clock
from truefit.optim.averaging import WeightAverage
from truefit.optim.weight_mean import WeightMean
from truefit.precision import Precision
from truefit.recipes.recipe import EmaConfig, OptimizerConfig, OptimizerName, Recipe, SwaConfig


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
    assert (run.weights, raw.weights) == ("last (epoch 2), averaged over steps", "last (epoch 2)")
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


def test_weights_from_before_the_mean_begins_are_not_called_averaged() -> None:
    """Validation has every label wrong: the better the training, the worse it is."""
    training = image_set(64)
    images, labels = training.tensors
    wrong = TensorDataset(images, (labels + 1) % (int(labels.max()) + 1))
    how = replace(recipe("sgd", epochs=4), batch_size=16)

    def weights(how: Recipe) -> str:
        return Trainer(tiny_network(batchnorm=True), how).fit(training, wrong).weights

    # Four steps an epoch; the mean is of one model only until its second.
    for swa in (SwaConfig(start=0.75), SwaConfig(start=0.9)):
        assert weights(replace(how, swa=swa)) in ("best (epoch 1)", "best (epoch 2)")
    assert weights(replace(how, swa=SwaConfig(start=0.01, every=1))).endswith("), averaged over steps")


def test_what_was_not_averaged_is_not_called_so() -> None:
    def weights(**more: Any) -> str:
        how = replace(recipe("sgd", epochs=2), batch_size=16, **more)
        return Trainer(tiny_network(batchnorm=True), how).fit(image_set(64)).weights

    for ema in (EmaConfig(decay=0.0), EmaConfig(decay=0.9, every=1000)):
        assert weights(ema=ema) == "last (epoch 2)"
    assert weights(ema=EmaConfig(decay=0.9, every=8)) == "last (epoch 2), averaged over steps"
    # The mean of one model is none.
    assert weights(swa=SwaConfig(start=0.9)) == "last (epoch 2)"
    assert weights(swa=SwaConfig(start=0.9, every=1)) == "last (epoch 2), averaged over steps"


def scrambled(network: nn.Module, draw: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))


def test_the_mean_of_weights_is_that_of_torch_and_so_are_its_statistics() -> None:
    network = tiny_network(batchnorm=True, dropout=0.5)
    ours, theirs = WeightMean(network, SwaConfig(start=0.5, every=3)), AveragedModel(network)
    ours.lay_out(steps=20, per_epoch=5)
    draw = torch.Generator().manual_seed(0)
    for step in range(1, 21):
        scrambled(network, draw)
        ours.step()
        if step in (10, 13, 16, 19):
            theirs.update_parameters(network)
    batches = list(image_set(24).tensors[0].split(8))
    ours.settle(batches, Precision())
    for module in theirs.modules():
        # torch would leave dropout on, which is no part of the weights' own statistics.
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    update_bn(batches, theirs)
    for name, tensor in ours.network.state_dict().items():
        torch.testing.assert_close(tensor, theirs.module.state_dict()[name])
    assert not any(module.training for module in ours.network.modules())
    assert ours.network[1].momentum == network[1].momentum


def test_before_its_start_the_mean_is_the_network_as_it_is() -> None:
    network = tiny_network(batchnorm=True)
    mean = WeightMean(network, SwaConfig(start=0.9))
    mean.lay_out(steps=20, per_epoch=5)
    scrambled(network, torch.Generator().manual_seed(0))
    mean.step()
    assert not mean.is_usable
    mean.settle([], Precision())
    assert mean.is_usable
    assert all(torch.equal(tensor, mean.network.state_dict()[name]) for name, tensor in network.state_dict().items())


def swa() -> Recipe:
    return recipe("sgd", swa=SwaConfig(start=0.4, every=2, lr=0.5))


def slow(name: OptimizerName) -> Recipe:
    return replace(recipe(), optimizer=OptimizerConfig(name=name, lookahead=4))


def test_the_mean_of_weights_is_measured_and_kept() -> None:
    run, raw = train(swa()), train(recipe("sgd"))
    assert run.evaluation is not None
    chosen = run.history[int(run.weights.split("epoch ")[1].split(")")[0]) - 1]
    assert run.evaluation.loss == chosen["validation_loss"]
    # Until averaging begins (after step 7 of 18) the two are one training.
    assert run.history[0]["validation_loss"] == raw.history[0]["validation_loss"]
    assert run.history[2]["validation_loss"] != raw.history[2]["validation_loss"]
    assert run.history[2]["lr"] == 0.5 * 0.05


def test_without_validation_the_last_mean_is_kept() -> None:
    run = Trainer(tiny_network(batchnorm=True), swa()).fit(image_set(22))
    raw = Trainer(tiny_network(batchnorm=True), recipe("sgd", swa=SwaConfig())).fit(image_set(22))
    assert not torch.equal(run.network.state_dict()["0.weight"], raw.network.state_dict()["0.weight"])
    assert (run.network.state_dict()["1.running_var"] != 1).all()


def test_where_the_clock_ends_training_between_two_epochs_the_mean_is_kept_too(tmp_path, monkeypatch) -> None:
    clock = Clock(math.inf, 0.0)
    monkeypatch.setattr("truefit.fitting.fit.fit_into_time", lambda setup: clock)

    def end(event: Event) -> None:
        if isinstance(event, EpochFinished):
            clock.deadline = -math.inf

    how = recipe("sgd", swa=SwaConfig(start=0.0, every=1))
    run = Trainer(tiny_network(batchnorm=True), how, observers=[end]).fit(image_set(22), out=tmp_path / "run")
    assert len(run.history) == 1
    last = load_file(tmp_path / "run" / "model" / "last" / "weights.safetensors")
    assert not torch.equal(run.network.state_dict()["0.weight"], last["0.weight"])


@pytest.mark.parametrize(
    "how",
    [
        swa(),
        recipe(swa=SwaConfig(start=0.0)),
        slow("sgd"),
        slow("adamw"),
        slow("muon"),
    ],
    ids=["mean", "mean of epochs", "lookahead sgd", "lookahead adamw", "lookahead muon"],
)
def test_going_on_is_exact_with_averages_and_slow_weights(tmp_path: Path, how: Recipe) -> None:
    wanted = train(how)
    broken_off(how, tmp_path / "run", 9)
    broken_off(how, tmp_path / "run", 4, resume=True)
    assert_same_run(train(how, out=tmp_path / "run", resume=True), wanted)


def test_a_mean_that_has_no_statistics_yet_is_not_what_a_broken_off_training_keeps(tmp_path: Path) -> None:
    how = recipe("sgd", swa=SwaConfig(start=0.0))
    steps = 0

    def stop(event: object) -> None:
        nonlocal steps
        steps += type(event).__name__ == "StepFinished"
        if steps == 8:
            raise RuntimeError("out of luck")

    trainer = Trainer(tiny_network(batchnorm=True), how, observers=[stop])
    with pytest.raises(RuntimeError, match="luck"):
        trainer.fit(image_set(22), out=tmp_path / "run")
    kept = load(tmp_path / "run", network=tiny_network(batchnorm=True)).network
    untrained = tiny_network(batchnorm=True).state_dict()
    assert not torch.equal(kept.state_dict()["0.weight"], untrained["0.weight"])
    assert not torch.equal(kept.state_dict()["1.running_mean"], untrained["1.running_mean"])
