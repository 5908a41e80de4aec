"""The class: what `ConvolutionalNeuralNet` returns, prints, keeps and promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import (
    CLASSES,
    Counting,
    Labelled,
    OwnError,
    Raising,
    Recording,
    Stream,
    assert_same_weights,
    generator_states,
    image_set,
    modes,
    sgd,
    tiny_network,
    weights,
)
from truefit import ConvNet, ConvolutionalNeuralNet, InputError, NonFiniteError, TruefitWarning, accuracy, validate

LOSS = nn.CrossEntropyLoss()


def fresh(seed: int = 0, **more: Any) -> ConvolutionalNeuralNet:
    torch.manual_seed(seed)
    return ConvolutionalNeuralNet(tiny_network(batchnorm=True), progress=False, device="cpu", **more)


# --- the log


def test_the_log_has_the_four_keys_with_their_lengths_types_and_rounding() -> None:
    log = fresh().train(LOSS, 3, 4, image_set(13), image_set(9, seed=1))
    assert list(log) == [
        "training_loss_per_batch",
        "validation_loss_per_batch",
        "training_accuracy_per_epoch",
        "validation_accuracy_per_epoch",
    ]
    assert [len(values) for values in log.values()] == [3 * 4, 3 * 3, 3, 3]
    assert all(type(value) is float for values in log.values() for value in values)
    assert all(value == round(value, 3) for name in log if "accuracy" in name for value in log[name])


def test_the_log_agrees_with_the_functions_on_the_network_that_is_left() -> None:
    model = fresh()
    training, validation = image_set(13), image_set(9, seed=1)
    log = model.train(LOSS, 2, 4, training, validation)
    assert log["training_accuracy_per_epoch"][-1] == accuracy(model.network, training)
    assert log["validation_accuracy_per_epoch"][-1] == accuracy(model.network, validation)
    assert log["validation_loss_per_batch"][-3:] == validate(model.network, validation, 4, LOSS)


def test_training_lowers_the_loss() -> None:
    model = fresh(optimizer=None)
    model.optimizer.param_groups[0]["lr"] = 0.05
    log = model.train(LOSS, 6, 12, image_set(48), image_set(8, seed=1))["training_loss_per_batch"]
    assert sum(log[-4:]) < 0.8 * sum(log[:4])


def test_each_sample_is_seen_once_in_training_and_once_in_measuring_an_epoch() -> None:
    training, validation = Counting(image_set(13)), Counting(image_set(9, seed=1))
    network = Recording(tiny_network(batchnorm=True, dropout=0.5))
    model = ConvolutionalNeuralNet(network, progress=False, device="cpu")
    model.train(LOSS, 2, 4, training, validation)
    assert training.counts == dict.fromkeys(range(13), 4)
    assert validation.counts == dict.fromkeys(range(9), 2)
    assert training.fetched[:13] != training.fetched[26:39]
    assert training.fetched[13:26] == list(range(13))
    trained = [size for size, seen in zip(network.batch_sizes, network.modes, strict=True) if all(seen)]
    measured = [size for size, seen in zip(network.batch_sizes, network.modes, strict=True) if not any(seen)]
    assert trained == [4, 4, 3, 2] * 2  # 13 = 4 + 4 + 4 + 1: BatchNorm's batch of one is shared
    assert measured == [4, 4, 4, 1, 4, 4, 1] * 2


# --- what is printed


def test_it_prints_the_device_the_epochs_and_the_four_figures(capsys: pytest.CaptureFixture[str]) -> None:
    model = ConvolutionalNeuralNet(tiny_network(), device="cpu")
    log = model.train(LOSS, 2, 4, image_set(), image_set(9, seed=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Running on the CPU (")
    assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    figures = [line for line in lines if "training_loss" in line]
    assert len(figures) == 2
    for name in ("training_loss", "training_accuracy", "validation_loss", "validation_accuracy"):
        assert all(name in line for line in figures)
    assert f"validation_accuracy: {log['validation_accuracy_per_epoch'][-1]:.3f}" in figures[-1]
    assert len(lines) == 5


def test_printed_losses_weigh_samples_and_not_batches(capsys: pytest.CaptureFixture[str]) -> None:
    log = ConvolutionalNeuralNet(tiny_network(), device="cpu").train(LOSS, 1, 8, image_set(9), image_set(9, seed=1))
    printed = capsys.readouterr().out
    for name in ("training_loss", "validation_loss"):
        full, last = log[f"{name}_per_batch"]
        assert f"{name}: {(8 * full + last) / 9:.4f}" in printed
        assert f"{name}: {(full + last) / 2:.4f}" not in printed


def test_without_progress_it_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    fresh().train(LOSS, 1, 4, image_set(), image_set())
    assert capsys.readouterr() == ("", "")


# --- initial weights, optimizer, device


def test_weights_are_initialised_in_the_constructor() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(64 * 16, 32))
    norm = weights(network[1])
    ConvolutionalNeuralNet(network, progress=False, device="cpu")
    assert (network[3].bias == 0.01).all()
    assert_same_weights(network[1], norm)
    # Glorot's bound: sqrt(6 / (fan_in + fan_out)), reached by the extremes of many uniform draws.
    for weight, bound in (
        (network[0].weight, math.sqrt(6 / (27 + 576))),
        (network[3].weight, math.sqrt(6 / (1024 + 32))),
    ):
        assert 0.98 * bound < float(weight.detach().abs().max()) <= bound
        assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_a_second_training_goes_on_from_the_learnt_weights() -> None:
    model = fresh()
    model.train(LOSS, 1, 4, image_set(), image_set())
    learnt, optimizer = weights(model.network), model.optimizer
    steps = {int(state["step"]) for state in optimizer.state.values()}
    for group in model.optimizer.param_groups:
        group["lr"] = 0.0
    model.train(LOSS, 1, 4, image_set(), image_set())
    assert all(torch.equal(p, learnt[name]) for name, p in model.network.named_parameters())
    assert model.optimizer is optimizer
    assert {int(state["step"]) for state in optimizer.state.values()} == {2 * step for step in steps} == {6}


def test_two_trainings_of_one_model_shuffle_differently() -> None:
    model, dataset = fresh(), Counting(image_set(12))
    model.train(LOSS, 1, 4, dataset, image_set())
    model.train(LOSS, 1, 4, dataset, image_set())
    assert dataset.fetched[:12] != dataset.fetched[24:36]


def test_initialise_false_keeps_the_weights_that_came() -> None:
    network = tiny_network()
    before = weights(network)
    ConvolutionalNeuralNet(network, initialise=False, progress=False, device="cpu")
    assert_same_weights(network, before)


def test_adam_at_a_thousandth_unless_an_optimizer_is_given() -> None:
    model = fresh()
    assert type(model.optimizer) is torch.optim.Adam
    assert model.optimizer.param_groups[0]["lr"] == 1e-3
    network = tiny_network()
    given = sgd(network, lr=0.0)
    model = ConvolutionalNeuralNet(network, optimizer=given, progress=False, device="cpu")
    before = weights(network)
    model.train(LOSS, 1, 4, image_set(), image_set())
    assert model.optimizer is given
    assert model.network is network
    assert_same_weights(network, before)


def test_an_optimizer_of_another_network_is_an_error() -> None:
    model = ConvolutionalNeuralNet(tiny_network(), optimizer=sgd(tiny_network()), progress=False, device="cpu")
    with pytest.raises(InputError, match="none of the network's parameters"):
        model.train(LOSS, 1, 4, image_set(), image_set())


def test_the_schedule_is_stepped_once_a_batch() -> None:
    model = fresh()
    schedule = torch.optim.lr_scheduler.ExponentialLR(model.optimizer, gamma=0.5)
    model.train(LOSS, 2, 4, image_set(10), image_set(), schedule=schedule)
    assert model.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 2**6)


def test_torch_manual_seed_repeats_a_whole_training() -> None:
    first, second = fresh(3), fresh(3)
    logs = []
    for model in (first, second):
        torch.manual_seed(4)
        logs.append(model.train(LOSS, 2, 4, image_set(), image_set(seed=1)))
    assert logs[0] == logs[1]
    assert_same_weights(first.network, second.network)


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(InputError, match="not available"):
        ConvolutionalNeuralNet(tiny_network(), device="tpu")


def test_modes_come_back_after_training_and_after_an_error() -> None:
    model = fresh()
    model.network.eval()
    model.network[1].train()
    before = modes(model.network)
    model.train(LOSS, 1, 4, image_set(), image_set())
    assert modes(model.network) == before
    with pytest.raises(OwnError):
        model.train(LOSS, 1, 4, Raising(image_set(), at=3), image_set())
    assert modes(model.network) == before


@pytest.mark.parametrize("epochs", [0, -1, True, 1.5])
def test_epochs_that_are_no_count_are_an_error(epochs: Any) -> None:
    with pytest.raises(InputError, match="epochs"):
        fresh().train(LOSS, epochs, 4, image_set(), image_set())


def test_empty_sets_and_batch_size_0_are_errors_before_any_step() -> None:
    model = fresh()
    before = weights(model.network)
    with pytest.raises(InputError, match="training set is empty"):
        model.train(LOSS, 1, 4, image_set(0), image_set())
    with pytest.raises(InputError, match="validation set is empty"):
        model.train(LOSS, 1, 4, image_set(), image_set(0))
    with pytest.raises(InputError, match="batch_size"):
        model.train(LOSS, 1, 0, image_set(), image_set())
    assert_same_weights(model.network, before)


def test_a_nan_image_names_the_epoch_and_its_index() -> None:
    images, labels = image_set().tensors
    images[5] = math.nan
    with pytest.raises(NonFiniteError, match="samples 5") as e:
        fresh().train(LOSS, 2, 4, torch.utils.data.TensorDataset(images, labels), image_set())
    assert e.value.epoch == 0
    assert 5 in e.value.indices


def test_softmax_before_cross_entropy_is_said_once_in_several_epochs() -> None:
    model = ConvolutionalNeuralNet(nn.Sequential(tiny_network(), nn.Softmax(1)), progress=False, device="cpu")
    with pytest.warns(TruefitWarning, match="softmax") as said:
        model.train(LOSS, 3, 4, image_set(), image_set())
    assert len(said) == 1


def test_an_iterable_data_set_trains_over_epochs() -> None:
    with pytest.warns(TruefitWarning, match="not shuffled") as said:
        log = fresh().train(LOSS, 2, 4, Stream(image_set(10)), Stream(image_set(5)))
    assert len(said) == 1
    assert [len(values) for values in log.values()] == [6, 4, 2, 2]


def test_a_loss_with_class_weights_is_used_as_given() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0]))
    model = fresh()
    log = model.train(loss, 1, 4, image_set(), image_set(seed=1))
    assert log["validation_loss_per_batch"] == validate(model.network, image_set(seed=1), 4, loss)


def test_labels_outside_the_outputs_are_an_error() -> None:
    with pytest.raises(InputError, match="outside"):
        fresh().train(LOSS, 1, 4, image_set(), Labelled([0, CLASSES]))


# --- predict


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 32, 32), (5, 3, 32, 32), (5, 3072), (2, 3, 24, 47)])
def test_predict_gives_a_row_of_probabilities_for_each_image(shape: tuple[int, ...]) -> None:
    model = ConvolutionalNeuralNet(ConvNet(), progress=False, device="cpu")
    found = model.predict(torch.randn(shape))
    assert found.shape == (1 if len(shape) == 3 else shape[0], 10)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert (found >= 0).all()
    assert torch.allclose(found.sum(dim=1), torch.ones(len(found)), atol=1e-6)


def test_predict_takes_flat_images_as_the_same_images() -> None:
    model = ConvolutionalNeuralNet(ConvNet(), progress=False, device="cpu")
    x = torch.randn(3, 3, 32, 32)
    assert torch.equal(model.predict(x.flatten(1)), model.predict(x))


def test_predict_is_softmax_of_the_logits_in_eval_mode_and_leaves_no_trace() -> None:
    network = tiny_network(batchnorm=True, dropout=0.5)
    model = ConvolutionalNeuralNet(network, progress=False, device="cpu")
    x = image_set(5).tensors[0]
    wanted = network.eval()(x).softmax(dim=1)
    network.train()
    network[1].eval()
    before, held, states = modes(network), weights(network), generator_states()
    assert torch.equal(model.predict(x), wanted)
    assert modes(network) == before
    assert_same_weights(network, held)
    assert generator_states() == states


def test_predict_returns_the_output_of_a_softmax_network_as_it_is() -> None:
    network = nn.Sequential(tiny_network(), nn.Softmax(dim=1))
    model = ConvolutionalNeuralNet(network, progress=False, device="cpu")
    x = image_set(5).tensors[0]
    assert torch.equal(model.predict(x), network(x))


def test_each_row_is_judged_by_itself() -> None:
    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[0.2, 0.8], [float("nan")] * 2, [3.0, 1.0]])

    model = ConvolutionalNeuralNet(
        Mixed(), optimizer=torch.optim.SGD([torch.zeros(1)], lr=1.0), progress=False, device="cpu"
    )
    found = model.predict(torch.zeros(3, 3, 8, 8))
    assert found[0].tolist() == pytest.approx([0.2, 0.8])
    assert found[1].isnan().all()
    assert torch.equal(found[2], torch.tensor([3.0, 1.0]).softmax(dim=0))


@pytest.mark.parametrize("rows", [[[0.5, 0.5 - 3e-4]], [[1.5, -0.5]], [[0.5, 0.5], [0.6, 0.6]]])
def test_rows_that_only_resemble_probabilities_get_softmax(rows: list[list[float]]) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor(rows)

    model = ConvolutionalNeuralNet(
        Fixed(), optimizer=torch.optim.SGD([torch.zeros(1)], lr=1.0), progress=False, device="cpu"
    )
    assert torch.equal(model.predict(torch.zeros(len(rows), 3, 8, 8)), torch.tensor(rows).softmax(dim=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predict_takes_arrays(dtype: Any) -> None:
    model = fresh()
    x = image_set(2).tensors[0]
    assert torch.allclose(model.predict(x.numpy().astype(dtype)), model.predict(x))


@pytest.mark.parametrize("shape", [(32, 32), (0, 3, 32, 32), (1, 1, 3, 32, 32), (3072,), (3, 16, 16), (2, 1, 32, 32)])
def test_predict_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    model = ConvolutionalNeuralNet(ConvNet(), progress=False, device="cpu")
    with pytest.raises(InputError, match="shape"):
        model.predict(torch.zeros(shape))


def test_predict_refuses_bytes() -> None:
    with pytest.raises(InputError, match="floats"):
        fresh().predict(torch.zeros(3, 6, 6, dtype=torch.uint8))
