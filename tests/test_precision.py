"""Devices, threads and mixed precision."""

from __future__ import annotations

import math
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from helpers import CLASSES, assert_same_weights, image_set, tiny_network, weights
from truefit import InputError, NonFiniteError, loop, provenance
from truefit.data.batches import DatasetBatches
from truefit.data.plan import Plan
from truefit.precision import (
    Precision,
    bfloat16_pays,
    describe,
    device_of,
    fastest,
    find_device,
    has_bfloat16,
    resolve,
    threads,
)
from truefit.tasks.given_loss import GivenLoss
from truefit.tasks.single_label import SingleLabel

CPU = torch.device("cpu")
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def batches(dataset: TensorDataset, batch_size: int = 12) -> DatasetBatches:
    return DatasetBatches(dataset, Plan(samples=len(dataset), batch_size=batch_size, seed=0), device=CPU)


class Watching(nn.Module):
    """Keeps the dtype of its network's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network(batchnorm=True)
        self.dtypes: set[torch.dtype] = set()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x)
        self.dtypes.add(outputs.dtype)
        return outputs


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "fused sgd"])
@pytest.mark.parametrize("name", HALVES)
def test_half_precision_trains_float32_weights(name: str, optimizer: str) -> None:
    network, data, task = Watching(), batches(image_set(48)), SingleLabel(CLASSES)
    make = {
        "adam": lambda p: torch.optim.Adam(p, lr=0.03, fused=True),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
        "fused sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, fused=True),
    }[optimizer]
    steps, precision = make(network.parameters()), Precision(name)
    losses = [loop.train_epoch(network, data, task, steps, epoch=i, precision=precision).loss for i in range(6)]
    assert losses[-1] < 0.9 * losses[0]
    assert network.dtypes == {HALVES[name]}
    assert all(p.dtype == torch.float32 for p in network.parameters())
    kept = loop.evaluate(network, data, task, precision=precision, keep_outputs=True).outputs
    assert kept.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_float32_is_no_autocast_and_no_scaler() -> None:
    network, data = Watching(), batches(image_set(12))
    assert Precision().scaler is None
    loop.train_epoch(network, data, SingleLabel(CLASSES), torch.optim.SGD(network.parameters(), lr=0.1))
    assert network.dtypes == {torch.float32}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", HALVES)
def test_a_nan_image_stops_half_precision_too(name: str, fused: bool) -> None:
    images, labels = image_set(36).tensors
    data = batches(TensorDataset(images, labels))
    bad = data.indices(0, 1)[4]
    images[bad, 0, 0, 0] = math.nan
    network, clean = tiny_network(batchnorm=True), tiny_network(batchnorm=True)
    precision, again = Precision(name), Precision(name)
    with pytest.raises(NonFiniteError) as e:
        loop.train_epoch(
            network,
            data,
            SingleLabel(CLASSES),
            torch.optim.Adam(network.parameters(), lr=0.01, fused=fused),
            precision=precision,
        )
    assert e.value.step == 1
    assert bad in e.value.indices
    rows = data.indices(0, 0)
    alone = DatasetBatches(
        TensorDataset(images[rows], labels[rows]), Plan(samples=12, batch_size=12, seed=None), device=CPU
    )
    steps = torch.optim.Adam(clean.parameters(), lr=0.01, fused=fused)
    loop.train_epoch(clean, alone, SingleLabel(CLASSES), steps, precision=again)
    assert_same_weights(network, clean)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("fused", [True, False])
def test_a_float16_overflow_skips_its_step_lowers_the_scale_and_goes_on(fused: bool, momentum: float) -> None:
    network = tiny_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=momentum, fused=fused)
    precision = Precision("float16")
    before, start = weights(network), precision.scaler.get_scale()
    # The gradient of this loss times the first scale does not fit into float16; a few halvings later it does.
    task = GivenLoss(lambda outputs, targets: 200 * F.cross_entropy(outputs.float(), targets))
    losses, moved = [], []
    for epoch in range(14):
        losses += loop.train_epoch(
            network, batches(image_set(12)), task, optimizer, epoch=epoch, precision=precision
        ).losses
        moved.append(not torch.equal(network[0].weight, before["0.weight"]))
    assert not moved[0]
    assert moved[-1]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]
    assert precision.scaler.get_scale() < start


def test_a_skipped_first_step_leaves_no_unwritten_momentum() -> None:
    network = tiny_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    # Fresh memory is filled with NaN, so that what nobody writes shows.
    with torch.no_grad():
        held = [torch.full_like(p, math.nan) for p in network.parameters() for _ in range(4)]
    del held
    task = GivenLoss(lambda outputs, targets: 1e6 * F.cross_entropy(outputs.float(), targets))
    loop.train_epoch(network, batches(image_set(12)), task, optimizer, precision=Precision("float16"))
    momenta = [state.get("momentum_buffer") for state in optimizer.state.values()]
    assert all(momentum is None or not momentum.any() for momentum in momenta)


def test_a_float16_gradient_that_is_never_finite_is_an_error_in_the_end() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets) + (outputs.float() * 0).abs().sum().sqrt()

    network = tiny_network()
    before = weights(network)
    optimizer, precision = torch.optim.SGD(network.parameters(), lr=0.1), Precision("float16")
    with pytest.raises(NonFiniteError, match="gradient"):
        loop.train_epoch(network, batches(image_set(120), 2), GivenLoss(loss), optimizer, precision=precision)
    assert_same_weights(network, before)


@pytest.mark.parametrize("name", HALVES)
def test_accumulation_and_clipping_work_in_half_precision(name: str) -> None:
    network, data, precision = tiny_network(), batches(image_set(24)), Precision(name)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.03, fused=True)
    losses = [
        loop.train_epoch(
            network, data, SingleLabel(CLASSES), optimizer, epoch=i, accumulate=3, clip_norm=1.0, precision=precision
        ).loss
        for i in range(6)
    ]
    assert losses[-1] < losses[0]


def test_an_unavailable_device_names_those_there_are() -> None:
    assert find_device("cpu") == CPU
    for name in ("tpu", "cuda:99", "gpu"):
        with pytest.raises(InputError, match=name) as e:
            find_device(name)
        assert "cpu" in e.value.details["wanted"]


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a better device")
def test_the_best_device_here_is_the_cpu() -> None:
    assert find_device() == find_device("auto") == CPU


def test_a_network_is_where_its_parameters_are() -> None:
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(nn.ReLU()) == CPU


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
        assert describe(CPU) == "Running on the CPU (1 thread)"
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), threads(1):
        raise KeyError
    assert torch.get_num_threads() == before


def test_settings_are_resolved_by_fixed_rules() -> None:
    small = resolve(device="cpu", precision="auto", image_size=(32, 32))
    assert (small.device, small.precision, small.channels_last) == ("cpu", "float32", True)
    assert small.threads == torch.get_num_threads()
    assert small == resolve(device="cpu", precision="auto", image_size=(32, 32))
    assert small.evaluation_batch_size == 128
    assert resolve(device="cpu", precision="auto", image_size=(8, 8)).evaluation_batch_size == 1024
    assert resolve(device="cpu", precision="bfloat16", image_size=(224, 224)).evaluation_batch_size == 32


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept where the C library is glibc")
def test_memory_that_is_freed_is_there_for_the_next_step_without_asking_the_system() -> None:
    """64 MB, written again and again, in a process of its own: its pages are not fetched each time."""
    code = """
import resource, sys, torch
from truefit.precision import threads
def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def least():
    # The heap takes a few turns to settle.
    for _ in range(40):
        fetched()
    return min(fetched() for _ in range(5))
alone = least()
with threads(1):
    print(alone, least())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    alone, kept = map(int, done.stdout.split())
    assert alone > 1_000
    assert kept < 100


def test_on_a_cpu_without_units_steps_are_quick_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: False)
    assert fastest(nn.Conv2d(4, 4, 3), CPU) == "float32-fast"
    assert fastest(nn.Conv2d(4, 4, 3), torch.device("cuda")) == "float32"


def test_grouped_convolutions_keep_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: True)
    cpu = CPU
    assert fastest(nn.Sequential(nn.Conv2d(4, 4, 3)), cpu) == "bfloat16"
    assert fastest(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), cpu) == "float32-fast"
    assert fastest(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), torch.device("cuda")) == "bfloat16"


def test_units_for_bfloat16_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else None
    if flags is None:
        pytest.skip("only Linux lists what the processor can do")
    assert has_bfloat16(CPU) == ("avx512_bf16" in flags or "amx_tile" in flags)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert has_bfloat16(CPU)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not has_bfloat16(CPU)


@pytest.mark.parametrize(
    ("maker", "tiles", "pays"),
    [
        ("Intel", False, False),
        ("Intel", True, True),
        ("AMD", False, True),
    ],
)
def test_intels_units_for_bfloat16_pay_with_amx_only(
    monkeypatch: pytest.MonkeyPatch, maker: str, tiles: bool, pays: bool
) -> None:
    monkeypatch.setattr("truefit.precision.cpu_vendor", lambda: maker)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert bfloat16_pays(CPU) is pays


@pytest.mark.parametrize(
    ("told", "processor", "vendor"),
    [
        ("GenuineIntel", "x86_64", "Intel"),
        ("AuthenticAMD", "", "AMD"),
        (None, "Intel64 Family 6 Model 143 Stepping 8, GenuineIntel", "Intel"),
        (None, "arm", "arm"),
    ],
)
def test_who_made_the_processor(monkeypatch: pytest.MonkeyPatch, told: str | None, processor: str, vendor: str) -> None:
    monkeypatch.setattr(provenance, "_told_of_cpu", lambda what: told)
    monkeypatch.setattr("platform.processor", lambda: processor)
    assert provenance.cpu_vendor() == vendor
