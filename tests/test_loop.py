"""The loop: counts, weights and events of one epoch of training and of one evaluation."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from helpers import CLASSES, Recording, assert_same_weights, image_set, sgd, tiny_network, weights
from truefit import InputError, NonFiniteError, loop
from truefit.data.batches import DatasetBatches
from truefit.data.plan import Plan
from truefit.events import Event, PassFinished, PassStarted, Progress, StepFinished
from truefit.tasks.single_label import SingleLabel

CPU = torch.device("cpu")


def batches(dataset: TensorDataset, batch_size: int = 4, seed: int | None = 1, **more: Any) -> DatasetBatches:
    plan = Plan(samples=len(dataset), batch_size=batch_size, seed=seed, **more)
    return DatasetBatches(dataset, plan, device=CPU)


def test_training_counts_samples_and_hits_and_divides_once() -> None:
    network, dataset = tiny_network(), image_set(10)
    result = loop.train_epoch(network, batches(dataset), SingleLabel(CLASSES), sgd(network, lr=0.0))
    with torch.no_grad():
        outputs = network(dataset.tensors[0])
    assert result.sizes == [4, 4, 2]
    assert result.samples == 10
    assert result.correct == int((outputs.argmax(dim=1) == dataset.tensors[1]).sum())
    assert result.accuracy == result.correct / 10
    assert result.loss == pytest.approx(float(F.cross_entropy(outputs, dataset.tensors[1])), rel=1e-6)
    assert result.loss != pytest.approx(sum(result.losses) / 3, rel=1e-6)


def test_evaluation_gives_outputs_and_targets_in_order() -> None:
    network, dataset = tiny_network(batchnorm=True, dropout=0.5), image_set(10)
    result = loop.evaluate(network, batches(dataset, seed=None), SingleLabel(CLASSES), keep_outputs=True)
    with torch.no_grad():
        wanted = network.eval()(dataset.tensors[0])
    assert torch.allclose(result.outputs, wanted, atol=1e-6)
    assert torch.equal(result.targets, dataset.tensors[1])
    assert result.loss == pytest.approx(float(F.cross_entropy(wanted, dataset.tensors[1])), rel=1e-6)
    assert loop.evaluate(network, batches(dataset), SingleLabel(CLASSES)).outputs is None


def test_the_task_and_not_the_loop_decides_the_loss() -> None:
    network, dataset = tiny_network(), image_set(8)
    weighted = SingleLabel(CLASSES, label_smoothing=0.2, class_weights=(1.0, 2.0, 0.5, 1.0))
    result = loop.evaluate(network, batches(dataset, batch_size=8, seed=None), weighted)
    wanted = F.cross_entropy(
        network(dataset.tensors[0]),
        dataset.tensors[1],
        weight=torch.tensor([1.0, 2.0, 0.5, 1.0]),
        label_smoothing=0.2,
    )
    assert result.losses == [wanted.item()]


@pytest.mark.parametrize(("samples", "parts"), [(32, [8, 8, 8, 8]), (19, [7, 6, 6]), (8, [8]), (9, [5, 4]), (1, [1])])
def test_accumulation_cuts_a_step_into_parts_and_a_short_one_into_fewer(samples: int, parts: list[int]) -> None:
    network = Recording(tiny_network())
    data = batches(image_set(samples), batch_size=32)
    loop.train_epoch(network, data, SingleLabel(CLASSES), sgd(network), accumulate=4)
    assert network.batch_sizes == parts


@pytest.mark.parametrize("samples", [16, 23])
def test_accumulation_takes_the_step_of_the_whole_batch(samples: int) -> None:
    results, networks = [], []
    for accumulate in (1, 4, 16):
        network = tiny_network()
        data = batches(image_set(samples), batch_size=16)
        results.append(
            loop.train_epoch(network, data, SingleLabel(CLASSES), sgd(network), accumulate=accumulate, clip_norm=0.5)
        )
        networks.append(network)
    for result, network in zip(results[1:], networks[1:], strict=True):
        assert result.losses == pytest.approx(results[0].losses, rel=1e-5)
        assert result.correct == results[0].correct
        for name, tensor in network.state_dict().items():
            assert torch.allclose(tensor, networks[0].state_dict()[name], atol=1e-6)


def test_accumulating_with_batchnorm_leaves_no_part_of_a_single_sample() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))
    # 7 = 4 + 3, and a part is at most 2: the 3 must not become 2 + 1.
    data = batches(image_set(7), share_last=True)
    loop.train_epoch(network, data, SingleLabel(CLASSES), sgd(network), accumulate=2)


def test_epochs_have_orders_of_their_own() -> None:
    network = Recording(tiny_network())
    for epoch in (0, 1, 0):
        loop.train_epoch(network, batches(image_set(8), 8), SingleLabel(CLASSES), sgd(network), epoch=epoch)
    assert torch.equal(network.seen[0], network.seen[2])
    assert not torch.equal(network.seen[0], network.seen[1])


def test_observers_are_told_the_passes_the_steps_and_the_figures() -> None:
    events: list[Event] = []
    network, dataset = tiny_network(), image_set(10)
    result = loop.train_epoch(
        network, batches(dataset), SingleLabel(CLASSES), sgd(network), epoch=3, observe=events.append
    )
    assert events[0] == PassStarted(split="train", epoch=3, steps=3, samples=10)
    steps = [event for event in events if isinstance(event, StepFinished)]
    assert [(event.step, event.samples) for event in steps] == [(0, 4), (1, 4), (2, 2)]
    assert [float(event.loss) for event in steps] == result.losses
    assert not any(event.loss.requires_grad for event in steps)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.step, last.samples, last.accuracy) == (2, 10, result.accuracy)
    assert last.loss == pytest.approx(result.loss)
    assert events[-1] == PassFinished(split="train", epoch=3)
    events.clear()
    loop.evaluate(network, batches(dataset), SingleLabel(CLASSES), split="test", observe=events.append)
    assert events[0] == PassStarted(split="test", epoch=0, steps=3, samples=10)
    assert not any(isinstance(event, StepFinished) for event in events)


def test_figures_are_read_back_at_most_five_times_a_second() -> None:
    events: list[Event] = []
    network = tiny_network()
    started = time.perf_counter()
    loop.train_epoch(network, batches(image_set(40), 1), SingleLabel(CLASSES), sgd(network), observe=events.append)
    seconds = time.perf_counter() - started
    assert sum(isinstance(event, Progress) for event in events) <= 5 * seconds + 1


def test_a_non_finite_step_is_the_last_also_before_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Figures are not read back before the end, so the steps after the bad one run all the same.
    monkeypatch.setattr(loop, "READ_BACK_SECONDS", 1e9)
    images, labels = image_set(20).tensors
    data = batches(TensorDataset(images, labels))
    bad = data.indices(0, 2)
    clean, network = tiny_network(batchnorm=True), Recording(tiny_network(batchnorm=True))
    steps = torch.optim.Adam(clean.parameters(), fused=True)
    clean.train()
    for step in range(2):
        rows = data.indices(0, step)
        steps.zero_grad()
        F.cross_entropy(clean(images[rows]), labels[rows]).backward()
        steps.step()
    images[bad[0]] = math.nan
    with pytest.raises(NonFiniteError) as e:
        loop.train_epoch(network, data, SingleLabel(CLASSES), torch.optim.Adam(network.parameters(), fused=True))
    assert len(network.seen) == 5
    assert e.value.step == 2
    assert e.value.indices == bad
    assert_same_weights(network.network, clean)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_nan_is_noticed_with_accumulation_and_clipping(accumulate: int, clip_norm: float | None) -> None:
    images, labels = image_set(16).tensors
    images[9, 0, 0, 0] = math.nan
    network = tiny_network()
    data = batches(TensorDataset(images, labels), batch_size=8)
    bad = next(step for step in (0, 1) if 9 in data.indices(0, step))
    before = weights(network)
    with pytest.raises(NonFiniteError, match="epoch 6, step") as e:
        loop.train_epoch(
            network, data, SingleLabel(CLASSES), sgd(network), epoch=5, accumulate=accumulate, clip_norm=clip_norm
        )
    assert e.value.epoch == 5
    assert 9 in e.value.indices
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    if bad == 0 and e.value.step == 0:
        assert_same_weights(network, before)


def test_a_result_of_nothing_is_an_error() -> None:
    network = tiny_network()

    class Nothing(DatasetBatches):
        def epoch(self, epoch: int, first: int = 0) -> Any:
            yield from ()

    with pytest.raises(InputError, match="empty"):
        loop.evaluate(
            network, Nothing(image_set(4), Plan(samples=4, batch_size=4, seed=None), device=CPU), SingleLabel()
        )


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (torch.zeros(4, 3), "do not match the classes"),
        (torch.zeros(3, CLASSES), "wrong shape"),
        (torch.zeros(4), "wrong shape"),
        ((torch.zeros(4, CLASSES),), "wrong shape"),
    ],
)
def test_outputs_that_do_not_fit_the_task_are_errors(outputs: Any, says: str) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return outputs

    with pytest.raises(InputError, match=says):
        loop.evaluate(Fixed(), batches(image_set(4)), SingleLabel(CLASSES))
