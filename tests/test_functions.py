"""train, validate, accuracy: what they promise to whoever calls them."""

from __future__ import annotations

import math
import random
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from helpers import (
    CLASSES,
    SIDE,
    Augmented,
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
from truefit import InputError, NonFiniteError, TruefitWarning, accuracy, train, validate

LOSS = nn.CrossEntropyLoss()


def seeded_train(network: nn.Module, dataset: Dataset[Any], batch_size: int = 4, **more: Any) -> list[float]:
    torch.manual_seed(7)
    return train(network, dataset, batch_size, sgd(network), LOSS, **more)


class Fixed(nn.Module):
    """Gives the outputs it was made with, whatever the images."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs[: len(images)]


# --- what comes back


@pytest.mark.parametrize(("samples", "batch_size", "steps"), [(12, 4, 3), (13, 4, 4), (3, 4, 1), (4, 4, 1), (5, 1, 5)])
def test_train_and_validate_return_a_loss_for_each_batch(samples: int, batch_size: int, steps: int) -> None:
    network, dataset = tiny_network(), image_set(samples)
    for losses in (
        train(network, dataset, batch_size, sgd(network), LOSS),
        validate(network, dataset, batch_size, LOSS),
    ):
        assert isinstance(losses, list)
        assert len(losses) == steps
        assert all(type(loss) is float and loss > 0 for loss in losses)


def test_the_callers_batch_size_is_used_and_the_last_short_batch_kept() -> None:
    network = Recording(tiny_network())
    train(network, image_set(10), 4, sgd(network), LOSS)
    validate(network, image_set(10), 7, LOSS)
    accuracy(network, image_set(10), batch_size=6)
    assert network.batch_sizes == [4, 4, 2, 7, 3, 6, 4]


def test_training_lowers_the_loss_and_raises_the_accuracy() -> None:
    network, dataset = tiny_network(), image_set(48)
    before = sum(validate(network, dataset, 48, LOSS)), accuracy(network, dataset)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(8):
        train(network, dataset, 12, optimizer, LOSS)
    after = sum(validate(network, dataset, 48, LOSS)), accuracy(network, dataset)
    assert after[0] < before[0] * 0.7
    assert after[1] > max(before[1], 0.6)


def test_train_takes_the_very_steps_of_a_plain_loop_on_its_batches() -> None:
    network, raw = Recording(tiny_network(batchnorm=True)), tiny_network(batchnorm=True)
    dataset = image_set(11)
    optimizer = torch.optim.Adam(raw.parameters())
    losses = train(network, dataset, 4, torch.optim.Adam(network.parameters()), LOSS)
    images, labels = dataset.tensors
    raw_losses = []
    for batch in network.seen:
        rows = [int((images == image).flatten(1).all(dim=1).nonzero()) for image in batch]
        optimizer.zero_grad()
        loss = LOSS(raw(batch), labels[rows])
        loss.backward()
        optimizer.step()
        raw_losses.append(loss.item())
    assert losses == raw_losses
    assert_same_weights(network.network, raw)


def test_validate_returns_the_losses_of_the_batches_in_order() -> None:
    network, dataset = tiny_network(dropout=0.5), image_set(10)
    images, labels = dataset.tensors
    wanted = [LOSS(network.eval()(images[i : i + 4]), labels[i : i + 4]).item() for i in (0, 4, 8)]
    network.train()
    assert validate(network, dataset, 4, LOSS) == wanted


def test_accuracy_counts_hits_over_all_samples_and_rounds_to_three_places() -> None:
    # 7 samples in batches of 3, 3, 1: hits are 2, 0, 0 and a mean of the batches would be 0.222.
    outputs = torch.eye(3)
    dataset = Labelled([0, 1, 0, 2, 2, 1, 1])
    assert accuracy(Fixed(outputs), dataset, batch_size=3) == 0.286
    assert accuracy(Fixed(outputs), Labelled([0, 1, 2]), batch_size=3) == 1.0
    assert accuracy(Fixed(outputs), Labelled([1, 2, 0]), batch_size=3) == 0.0


def test_an_output_with_nan_is_never_a_hit() -> None:
    outputs = torch.tensor([[math.nan, 0.0, 0.0], [1.0, 0.0, math.nan], [0.0, 0.0, 1.0], [math.nan] * 3])
    assert accuracy(Fixed(outputs), Labelled([0, 0, 2, 0])) == 0.25


# --- modes


@pytest.mark.parametrize("start", [True, False])
def test_train_runs_in_train_mode_and_the_others_in_eval_mode_without_gradients(start: bool) -> None:
    network = Recording(tiny_network(batchnorm=True, dropout=0.5)).train(start)
    train(network, image_set(4), 4, sgd(network), LOSS)
    validate(network, image_set(4), 4, LOSS)
    accuracy(network, image_set(4))
    assert [set(seen) for seen in network.modes] == [{True}, {False}, {False}]
    assert network.gradients == [True, False, False]


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("function", ["train", "validate", "accuracy"])
def test_every_module_gets_back_the_mode_it_came_with(function: str, start: bool) -> None:
    network = tiny_network(batchnorm=True, dropout=0.5).train(start)
    network[1].train(not start)
    before = modes(network)
    if function == "train":
        train(network, image_set(), 4, sgd(network), LOSS)
    elif function == "validate":
        validate(network, image_set(), 4, LOSS)
    else:
        accuracy(network, image_set())
    assert modes(network) == before
    assert torch.is_grad_enabled()


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_network(batchnorm=True)

    def forward(self, images: Tensor) -> Tensor:
        raise OwnError("from the network")


def breaking_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    raise OwnError("from the loss")


@pytest.mark.parametrize("breaks", ["network", "loss", "data set"])
@pytest.mark.parametrize("function", ["train", "validate", "accuracy"])
def test_own_errors_pass_through_and_the_modes_still_come_back(function: str, breaks: str) -> None:
    if (function, breaks) == ("accuracy", "loss"):
        return
    network = Breaking() if breaks == "network" else tiny_network(batchnorm=True)
    network.train(False)
    next(iter(network.children())).train(True)
    before, gave = modes(network), [p.detach().clone() for p in network.parameters()]
    dataset = Raising(image_set(), at=9) if breaks == "data set" else image_set()
    loss = breaking_loss if breaks == "loss" else LOSS
    with pytest.raises(OwnError, match="from the"):
        if function == "train":
            train(network, dataset, 12, sgd(network), loss)
        elif function == "validate":
            validate(network, dataset, 4, loss)
        else:
            accuracy(network, dataset, batch_size=4)
    assert modes(network) == before
    assert torch.is_grad_enabled()
    assert all(torch.equal(p, was) for p, was in zip(network.parameters(), gave, strict=True))


def test_own_errors_keep_their_type_on_the_way_out_of_a_worker() -> None:
    network = tiny_network().eval()
    with pytest.raises(OwnError, match="from the data set"):
        train(network, Raising(image_set(), at=9), 12, sgd(network), LOSS, workers=1)
    assert not any(modes(network))


# --- randomness


def test_two_calls_shuffle_differently() -> None:
    dataset, network = Counting(image_set(12)), tiny_network()
    torch.manual_seed(0)
    train(network, dataset, 4, sgd(network), LOSS)
    train(network, dataset, 4, sgd(network), LOSS)
    first, second = dataset.fetched[:12], dataset.fetched[12:]
    assert first != second
    assert list(range(12)) not in (first, second)


def test_each_index_is_fetched_once_and_seen_in_one_forward() -> None:
    dataset, network = Counting(image_set(13)), Recording(tiny_network(batchnorm=True))
    train(network, dataset, 4, sgd(network), LOSS)
    assert dataset.counts == dict.fromkeys(range(13), 1)
    assert sum(network.batch_sizes) == 13
    dataset.fetched.clear()
    validate(network, dataset, 4, LOSS)
    assert dataset.fetched == list(range(13))
    dataset.fetched.clear()
    accuracy(network, dataset, batch_size=4)
    assert dataset.fetched == list(range(13))
    assert len(network.seen) == 4 + 4 + 4


def test_torch_manual_seed_alone_repeats_two_calls() -> None:
    # Order, dropout, and an augmentation that draws from Python, NumPy and torch.
    def run(other: int) -> tuple[nn.Module, list[float]]:
        random.seed(other)
        np.random.seed(other)  # noqa: NPY002
        network = tiny_network(dropout=0.3)
        optimizer = sgd(network)
        torch.manual_seed(5)
        dataset = Augmented(image_set(12))
        losses = train(network, dataset, 4, optimizer, LOSS) + train(network, dataset, 4, optimizer, LOSS)
        return network, losses

    (first, losses), (second, again) = run(1), run(2)
    assert losses == again
    assert_same_weights(first, second)
    assert losses[:3] != losses[3:]


def test_users_augmentation_differs_between_samples_and_between_calls() -> None:
    same = TensorDataset(torch.zeros(12, 3, SIDE, SIDE), torch.zeros(12, dtype=torch.int64))
    network = Recording(tiny_network())
    train(network, Augmented(same), 4, sgd(network), LOSS)
    train(network, Augmented(same), 4, sgd(network), LOSS)
    values = torch.cat(network.seen)[:, 0, 0, 0].tolist()
    assert len(set(values)) == 24


class Restless(nn.Module):
    """Draws from every generator in each forward, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network()

    def forward(self, images: Tensor) -> Tensor:
        noise = random.random() + float(np.random.random()) + torch.rand(())  # noqa: NPY002
        return self.network(images) + noise


@pytest.mark.parametrize("workers", [0, 1])
def test_validate_and_accuracy_leave_every_generator_as_it_was(workers: int) -> None:
    network, dataset = Restless(), Augmented(image_set())
    before = generator_states()
    validate(network, dataset, 4, LOSS, workers=workers)
    accuracy(network, dataset, workers=workers)
    assert generator_states() == before


def test_training_consumes_torchs_generator_and_leaves_python_and_numpy_alone() -> None:
    network = tiny_network()
    before = generator_states()
    train(network, Augmented(image_set()), 4, sgd(network), LOSS)
    after = generator_states()
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


def test_validation_of_a_random_data_set_is_the_same_twice() -> None:
    network, dataset = tiny_network(), Augmented(image_set())
    assert validate(network, dataset, 4, LOSS) == validate(network, dataset, 4, LOSS)


@pytest.mark.parametrize("kind", [TensorDataset, Augmented])
def test_workers_change_nothing(kind: type) -> None:
    dataset: Any = image_set(13) if kind is TensorDataset else Augmented(image_set(13))
    results = []
    for workers in (0, 2):
        network = tiny_network(batchnorm=True, dropout=0.2)
        losses = seeded_train(network, dataset, workers=workers)
        losses += validate(network, dataset, 4, LOSS, workers=workers)
        results.append((losses, accuracy(network, dataset, batch_size=4, workers=workers), weights(network)))
    assert results[0][:2] == results[1][:2]
    assert_same_weights(results[0][2], results[1][2])


# --- what they work on stays as it is


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_network_and_optimizer_are_changed_in_place_and_nothing_but_the_values(
    memory_format: torch.memory_format,
) -> None:
    network = tiny_network(batchnorm=True).double().to(memory_format=memory_format)
    network[-1].bias.requires_grad_(False)
    frozen = network[-1].bias.clone()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, momentum=0.5)
    images, labels = image_set().tensors
    dataset = TensorDataset(images.double(), labels)
    parameters = list(network.parameters())
    facts = [(p.data_ptr(), p.stride(), p.dtype, p.requires_grad, p.device) for p in parameters]
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    first = parameters[0].detach().clone()
    train(network, dataset, 4, optimizer, LOSS)
    validate(network, dataset, 4, LOSS)
    accuracy(network, dataset)
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    assert [(p.data_ptr(), p.stride(), p.dtype, p.requires_grad, p.device) for p in parameters] == facts
    assert [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups] == settings
    assert torch.equal(network[-1].bias, frozen)
    assert not torch.equal(parameters[0], first)


def test_validate_and_accuracy_leave_weights_buffers_and_gradients_alone() -> None:
    network = tiny_network(batchnorm=True)
    before = weights(network)
    validate(network, image_set(), 4, LOSS)
    accuracy(network, image_set())
    assert_same_weights(network, before)
    assert all(p.grad is None for p in network.parameters())


def test_old_gradients_do_not_leak_into_the_first_step() -> None:
    clean, stained = tiny_network(), tiny_network()
    for parameter in stained.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    seeded_train(clean, image_set())
    seeded_train(stained, image_set())
    assert_same_weights(stained, clean)


def test_the_scheduler_is_stepped_once_a_batch() -> None:
    network = tiny_network()
    optimizer = sgd(network, lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    train(network, image_set(10), 4, optimizer, LOSS, scheduler=scheduler)
    assert optimizer.param_groups[0]["lr"] == 0.125


# --- data sets and labels


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: d,
        lambda d: Subset(d, range(len(d))),
        lambda d: ConcatDataset([Subset(d, range(5)), Subset(d, range(5, len(d)))]),
        lambda d: [d[i] for i in range(len(d))],
        lambda d: tuple((image, int(label)) for image, label in d),
        Counting,
        lambda d: Subset(Counting(d), range(len(d))),
    ],
    ids=["TensorDataset", "Subset", "ConcatDataset", "list", "tuple", "own class", "Subset of own class"],
)
def test_any_map_style_data_set_gives_the_same_training(wrap: Any) -> None:
    plain, other = tiny_network(), tiny_network()
    dataset = image_set(13)
    wanted = seeded_train(plain, dataset), validate(plain, dataset, 4, LOSS), accuracy(plain, dataset)
    wrapped = wrap(dataset)
    assert (seeded_train(other, wrapped), validate(other, wrapped, 4, LOSS), accuracy(other, wrapped)) == wanted
    assert_same_weights(other, plain)


def test_a_subset_trains_on_its_own_indices_only() -> None:
    dataset, network = Counting(image_set(12)), tiny_network()
    train(network, Subset(dataset, [3, 1, 8]), 2, sgd(network), LOSS)
    assert dataset.counts == {3: 1, 1: 1, 8: 1}


def test_a_tensor_dataset_subclass_keeps_its_own_items() -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image * 2, label

    network = Recording(tiny_network())
    dataset = image_set(4)
    validate(network, Doubled(*dataset.tensors), 4, LOSS)
    assert torch.equal(network.seen[0], dataset.tensors[0] * 2)


def test_a_class_that_fetches_batches_is_asked_for_them_and_its_subclass_for_its_own_items() -> None:
    class Many(Counting):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [self.dataset[index] for index in indices]

    class Doubled(Many):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image, label = super().__getitem__(index)
            return image * 2, label

    network, dataset = Recording(tiny_network()), image_set(4)
    many, doubled = Many(dataset), Doubled(dataset)
    validate(network, many, 4, LOSS)
    validate(network, doubled, 4, LOSS)
    assert (many.fetched, doubled.fetched) == ([], [0, 1, 2, 3])
    assert torch.equal(network.seen[0], dataset.tensors[0])
    assert torch.equal(network.seen[1], dataset.tensors[0] * 2)


def test_an_iterable_data_set_keeps_its_order_and_that_is_said_once() -> None:
    network = Recording(tiny_network())
    dataset = image_set(10)
    with pytest.warns(TruefitWarning, match="not shuffled") as said:
        losses = train(network, Stream(dataset), 4, sgd(network), LOSS)
    assert len(said) == 1
    assert len(losses) == 3
    assert torch.equal(torch.cat(network.seen), dataset.tensors[0])
    assert validate(network, Stream(dataset), 4, LOSS) == validate(network, dataset, 4, LOSS)
    assert accuracy(network, Stream(dataset)) == accuracy(network, dataset)


@pytest.mark.parametrize(
    "kind",
    [
        int,
        *(getattr(np, f"{sign}int{width}") for sign in ("", "u") for width in (8, 16, 32, 64)),
        *(lambda x, d=d: torch.tensor(x, dtype=d) for d in (torch.uint8, torch.int8, torch.int32, torch.int64)),
        lambda x: np.array(x, dtype=np.uint8),
    ],
)
def test_labels_of_any_integer_type_are_the_same_labels(kind: Any) -> None:
    numbers = [0, 3, 1, 2, 2]
    plain, other = tiny_network(), tiny_network()
    wanted = seeded_train(plain, Labelled(numbers)), accuracy(plain, Labelled(numbers))
    dataset = Labelled(map(kind, numbers))
    assert (seeded_train(other, dataset), accuracy(other, dataset)) == wanted
    assert_same_weights(other, plain)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_label_tensors_of_any_integer_type_are_the_same_labels(dtype: torch.dtype) -> None:
    images, labels = image_set().tensors
    plain, other = tiny_network(), tiny_network()
    wanted = seeded_train(plain, TensorDataset(images, labels))
    dataset = TensorDataset(images, labels.to(dtype))
    assert seeded_train(other, dataset) == wanted
    assert accuracy(other, dataset) == accuracy(plain, image_set())


@pytest.mark.parametrize("bad", [CLASSES, 255, -1, -7])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_label_outside_the_outputs_is_an_error_before_any_step(bad: int, as_tensor: bool) -> None:
    network = tiny_network(batchnorm=True)
    before = weights(network)
    dataset: Any = Labelled([0, 1, bad, 2])
    if as_tensor:
        dataset = TensorDataset(torch.zeros(4, 3, SIDE, SIDE), torch.tensor([0, 1, bad, 2]))
    for call in (
        lambda: train(network, dataset, 4, sgd(network), LOSS),
        lambda: validate(network, dataset, 4, LOSS),
        lambda: accuracy(network, dataset),
    ):
        with pytest.raises(InputError, match=rf"label {bad} is outside .*\n.*labels from .*\n.*0 to {CLASSES - 1}"):
            call()
    trained = {name: tensor for name, tensor in network.state_dict().items() if "running" not in name}
    assert all(torch.equal(trained[name], before[name]) for name in trained if "num_batches" not in name)


@pytest.mark.parametrize("ignored", [-100, -1, 255])
def test_ignored_labels_are_left_to_the_loss(ignored: int) -> None:
    loss = nn.CrossEntropyLoss(ignore_index=ignored)
    dataset = Labelled([0, ignored, 2, ignored])
    network = tiny_network()
    found = validate(network, dataset, 4, loss)
    assert found == [LOSS(network(torch.zeros(2, 3, SIDE, SIDE)), torch.tensor([0, 2])).item()]
    assert len(train(network, dataset, 4, sgd(network), loss)) == 1


@pytest.mark.parametrize("bad", [CLASSES, -3])
def test_a_bad_label_is_an_error_beside_an_ignored_one_too(bad: int) -> None:
    network = tiny_network()
    with pytest.raises(InputError, match="outside the model's classes"):
        train(network, Labelled([0, -100, bad, 2]), 4, sgd(network), LOSS)


def test_floating_targets_go_to_the_loss_as_they_are() -> None:
    network = tiny_network()
    images, labels = image_set(5).tensors
    soft = F.one_hot(labels, CLASSES).float()
    losses = validate(network, TensorDataset(images, soft), 5, nn.MSELoss())
    assert losses == [F.mse_loss(network(images), soft).item()]
    assert validate(network, list(zip(images, soft, strict=True)), 5, nn.MSELoss()) == losses
    assert len(train(network, TensorDataset(images, soft), 2, sgd(network), nn.MSELoss())) == 3


def test_outputs_that_are_not_one_tensor_go_to_the_loss_as_they_are() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.auxiliary = tiny_network(0), tiny_network(1)

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.main(images), self.auxiliary(images)

    def both(outputs: Any, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[0], targets) + 0.4 * F.cross_entropy(outputs[1], targets)

    network = TwoHeads()
    assert len(validate(network, image_set(), 4, both)) == 3
    assert len(train(network, image_set(), 4, sgd(network), both)) == 3


# --- bad input


@pytest.mark.parametrize("empty", [[], TensorDataset(torch.zeros(0, 3, 6, 6), torch.zeros(0)), Labelled([])])
def test_an_empty_data_set_is_an_error(empty: Any) -> None:
    network = tiny_network()
    for call in (
        lambda: train(network, empty, 4, sgd(network), LOSS),
        lambda: validate(network, empty, 4, LOSS),
        lambda: accuracy(network, empty),
    ):
        with pytest.raises(InputError, match="empty"):
            call()


@pytest.mark.filterwarnings("ignore:an iterable data set")
def test_an_empty_stream_is_an_error() -> None:
    network, empty = tiny_network(), Stream(image_set(0))
    for call in (
        lambda: train(network, empty, 4, sgd(network), LOSS),
        lambda: validate(network, empty, 4, LOSS),
        lambda: accuracy(network, empty),
    ):
        with pytest.raises(InputError, match="empty"):
            call()


def test_an_optimizer_of_another_network_is_an_error() -> None:
    network = tiny_network()
    with pytest.raises(InputError, match="none of the network's parameters"):
        train(network, image_set(), 4, sgd(tiny_network()), LOSS)
    partly = torch.optim.SGD(network[-1].parameters(), lr=0.1)
    before = weights(network)
    train(network, image_set(), 4, partly, LOSS)
    assert torch.equal(network[0].weight, before["0.weight"])
    assert not torch.equal(network[-1].weight, before["6.weight"])


@pytest.mark.parametrize("batch_size", [0, -1, True, 2.0, "4", None])
def test_a_batch_size_that_is_no_count_is_an_error(batch_size: Any) -> None:
    network = tiny_network()
    for call in (
        lambda: train(network, image_set(), batch_size, sgd(network), LOSS),
        lambda: validate(network, image_set(), batch_size, LOSS),
        lambda: accuracy(network, image_set(), batch_size=batch_size),
    ):
        with pytest.raises(InputError, match="batch_size"):
            call()


def test_a_data_loader_is_refused_and_the_way_out_named() -> None:
    network = tiny_network()
    loader: Any = DataLoader(image_set(), batch_size=4)
    for call in (
        lambda: train(network, loader, 4, sgd(network), LOSS),
        lambda: validate(network, loader, 4, LOSS),
        lambda: accuracy(network, loader),
    ):
        with pytest.raises(InputError, match=r"DataLoader(.|\n)*loader\.dataset"):
            call()


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ([(np.zeros((3, 6, 6), np.float32), 0)], "images must be tensors"),
        ([torch.zeros(3, 6, 6)], "pairs|tensors"),
        ([(torch.zeros(3, 6, 6), 0, "path")], "pairs"),
        ([(torch.zeros(3, 6, 6), 0), (torch.zeros(3, 5, 6), 0)], "differ in shape"),
        ([(torch.zeros(3, 6, 6), "cat")], "class indices"),
        ([(torch.zeros(3, 6, 6), None)], "class indices"),
    ],
)
def test_samples_that_are_no_image_and_label_are_errors(samples: list[Any], says: str) -> None:
    network = tiny_network()
    with pytest.raises(InputError, match=says):
        train(network, samples, 4, sgd(network), LOSS)


def test_something_without_a_length_is_an_error() -> None:
    with pytest.raises(InputError, match="no length"):
        validate(tiny_network(), iter([]), 4, LOSS)  # type: ignore[arg-type]


def test_a_loss_that_is_not_one_number_is_an_error() -> None:
    network = tiny_network()
    with pytest.raises(InputError, match="reduction='mean'"):
        train(network, image_set(), 4, sgd(network), nn.CrossEntropyLoss(reduction="none"))


def test_accuracy_of_outputs_that_are_no_classes_is_an_error() -> None:
    with pytest.raises(InputError, match="wrong shape"):
        accuracy(nn.Sequential(nn.Conv2d(3, 4, 1)), image_set())
    with pytest.raises(InputError, match="class indices"):
        accuracy(tiny_network(), Labelled([0.5, 1.5]))


# --- softmax before cross-entropy


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_softmax_before_cross_entropy_is_said_once_a_call_and_trains_as_asked(loss: Any) -> None:
    network, silent = (nn.Sequential(tiny_network(batchnorm=True), nn.Softmax(dim=1)) for _ in range(2))
    optimizer = sgd(network)
    torch.manual_seed(3)
    for _ in range(2):
        with pytest.warns(TruefitWarning) as said:
            train(network, image_set(13), 4, optimizer, loss)
        assert len(said) == 1
        assert "softmax" in str(said[0].message)
        assert "FIT101" in str(said[0].message)
    optimizer = sgd(silent)
    torch.manual_seed(3)
    for _ in range(2):
        # The same loss in a lambda is not recognised, so nothing is watched.
        train(silent, image_set(13), 4, optimizer, lambda outputs, targets: loss(outputs, targets))
    assert_same_weights(network, silent)


def test_logits_and_other_losses_are_met_with_silence() -> None:
    network = tiny_network()
    softmax = nn.Sequential(tiny_network(), nn.LogSoftmax(dim=1))
    ended = nn.Sequential(tiny_network(), nn.Softmax(dim=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(network, image_set(), 4, sgd(network), LOSS)
        train(softmax, image_set(), 4, sgd(softmax), nn.NLLLoss())
        train(ended, image_set(), 4, sgd(ended), lambda p, t: F.nll_loss(p.log(), t))
        validate(ended, image_set(), 4, LOSS)
        accuracy(ended, image_set())


# --- not finite

OPTIMIZERS: dict[str, Any] = {
    "Adam, fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW, weight decay, fused": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5, fused=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "SGD, momentum, fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


@cache
def order_of_training(samples: int) -> list[int]:
    """The order in which `train` goes through the samples after `torch.manual_seed(7)`."""
    dataset, network = Counting(image_set(samples)), tiny_network()
    seeded_train(network, dataset, samples)
    return dataset.fetched


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at_step", [0, 2, 4])
def test_a_nan_image_stops_training_with_the_weights_from_before_its_step(optimizer: str, at_step: int) -> None:
    dataset, clean = image_set(20), tiny_network(batchnorm=True, dropout=0.2)
    order = order_of_training(20)
    bad = order[4 * at_step + 1]

    # What stands before the bad step: the same training on the samples that come before it.
    wanted, state = weights(clean), None
    torch.manual_seed(7)
    steps = OPTIMIZERS[optimizer](clean.parameters())
    torch.randint(2**62, ())
    clean.train()
    for step in range(at_step):
        rows = order[4 * step : 4 * step + 4]
        steps.zero_grad()
        LOSS(clean(dataset.tensors[0][rows]), dataset.tensors[1][rows]).backward()
        steps.step()
        wanted, state = weights(clean), [dict(s) for s in steps.state_dict()["state"].values()]

    images = dataset.tensors[0].clone()
    images[bad, 1, 2, 3] = math.nan
    network = tiny_network(batchnorm=True, dropout=0.2)
    mine = OPTIMIZERS[optimizer](network.parameters())
    torch.manual_seed(7)
    with pytest.raises(
        NonFiniteError, match=rf"epoch 1, step {at_step + 1}(.|\n)*NaN or inf in .* samples {bad}\b"
    ) as e:
        train(network, TensorDataset(images, dataset.tensors[1]), 4, mine, LOSS)
    assert (e.value.epoch, e.value.step) == (0, at_step)
    assert e.value.indices == order[4 * at_step : 4 * at_step + 4]
    assert_same_weights(network, wanted)
    if state is not None:
        found = [dict(s) for s in mine.state_dict()["state"].values()]
        for a, b in zip(found, state, strict=True):
            assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in b if b[k] is not None)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_can_go_on_after_a_nan_in_the_first_step(optimizer: str) -> None:
    clean, network = tiny_network(batchnorm=True), tiny_network(batchnorm=True)
    fresh, used = OPTIMIZERS[optimizer](clean.parameters()), OPTIMIZERS[optimizer](network.parameters())
    with pytest.raises(NonFiniteError):
        train(network, [(torch.full((3, SIDE, SIDE), math.nan), 0)] * 2, 2, used, LOSS)
    for net, steps in ((clean, fresh), (network, used)):
        torch.manual_seed(1)
        train(net, image_set(), 4, steps, LOSS)
    assert_same_weights(network, clean)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_gradient_that_is_not_finite_stops_training_though_the_loss_is(optimizer: str) -> None:
    # The derivative of sqrt at 0 is infinite: the loss is a plain number, its gradient is not.
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets) + (outputs * 0).abs().sum().sqrt()

    network = tiny_network(batchnorm=True)
    before = weights(network)
    with pytest.raises(NonFiniteError, match="the gradient's norm is not finite") as e:
        train(network, image_set(), 4, OPTIMIZERS[optimizer](network.parameters()), loss)
    assert e.value.step == 0
    assert_same_weights(network, before)


def test_the_first_bad_step_is_named_where_several_follow() -> None:
    images, labels = image_set(20).tensors
    order = order_of_training(20)
    images[order[6]], images[order[9]] = math.inf, math.nan
    network = tiny_network()
    with pytest.raises(NonFiniteError) as e:
        seeded_train(network, TensorDataset(images, labels))
    assert e.value.step == 1
    assert order[6] in e.value.indices


def test_a_nan_in_the_first_step_is_no_scheduler_warning() -> None:
    network = tiny_network()
    optimizer = sgd(network)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(NonFiniteError):
        train(network, [(torch.full((3, SIDE, SIDE), math.nan), 0)], 1, optimizer, LOSS, scheduler=scheduler)


# --- BatchNorm and a last batch of one


def test_with_batchnorm_the_last_two_batches_share_where_one_sample_would_be_left() -> None:
    with_norm, without = Recording(tiny_network(batchnorm=True)), Recording(tiny_network())
    for network in (with_norm, without):
        assert len(train(network, image_set(65), 64, sgd(network), LOSS)) == 2
    assert with_norm.batch_sizes == [33, 32]
    assert without.batch_sizes == [64, 1]


@pytest.mark.filterwarnings("ignore:an iterable data set")
def test_a_stream_shares_its_last_two_batches_too() -> None:
    network = Recording(tiny_network(batchnorm=True))
    train(network, Stream(image_set(9)), 4, sgd(network), LOSS)
    assert network.batch_sizes == [4, 3, 2]
    assert torch.equal(torch.cat(network.seen), image_set(9).tensors[0])


def test_evaluation_needs_no_sharing() -> None:
    network = Recording(tiny_network(batchnorm=True))
    validate(network, image_set(65), 64, LOSS)
    assert network.batch_sizes == [64, 1]
