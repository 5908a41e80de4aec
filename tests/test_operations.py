"""Quicker ways of operations: the same as torch's but for rounding, and torch's own where they do not pay."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers import assert_same_weights
from truefit import Run, Trainer
from truefit.data.imageset import ImageSet
from truefit.events import Event, StepFinished
from truefit.operations import Quicker
from truefit.precision import Precision
from truefit.recipes.lookup import find_recipe


def images(*shape: int, lies: torch.memory_format = torch.channels_last) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(memory_format=lies).requires_grad_()


def vector(length: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(length)).requires_grad_()


def with_gradients(operation: Any, inputs: list[Tensor]) -> list[Tensor]:
    """What the operation gives, and its gradients of the inputs, for a gradient that is not the same everywhere."""
    out = operation(*inputs)
    gradient = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape).cos()
    return [out, *torch.autograd.grad(out, inputs, gradient)]


def assert_close(found: list[Tensor], wanted: list[Tensor], most: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert float((one.detach().double() - other.detach()).norm() / other.detach().norm()) < most


def doubled(inputs: list[Tensor]) -> list[Tensor]:
    return [value.detach().double().requires_grad_() for value in inputs]


def is_winograd(out: Tensor) -> bool:
    return type(out.grad_fn).__name__ == "_ConvolutionBackward"


@pytest.mark.parametrize("lies", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("height", "width"),
    # One tile; several; sizes that tiles of 4 and of 6 do not divide; more rows than columns.
    [(6, 6), (8, 8), (12, 12), (7, 7), (13, 10), (4, 9), (22, 6)],
)
def test_convolutions_are_those_of_torch(height: int, width: int, bias: bool, lies: torch.memory_format) -> None:
    inputs = [images(3, 48, height, width, lies=lies), images(56, 48, 3, 3)] + ([vector(56)] if bias else [])

    def convolve(*values: Tensor) -> Tensor:
        return F.conv2d(*values, padding=1)

    with Quicker():
        found = with_gradients(convolve, inputs)
    assert is_winograd(found[0])
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert_close(found, with_gradients(convolve, doubled(inputs)), 2e-5)


@pytest.mark.parametrize(
    "how",
    [
        {"padding": 0},
        {"padding": 1, "stride": 2},
        {"padding": 2, "dilation": 2},
        {"padding": "same"},
        {"padding": (1, 0)},
    ],
)
def test_other_convolutions_are_torchs_own(how: dict[str, Any]) -> None:
    x, weight = images(2, 64, 8, 8), images(64, 64, 3, 3)
    with Quicker():
        found = F.conv2d(x, weight, **how)
    assert torch.equal(found, F.conv2d(x, weight, **how))
    assert not is_winograd(found)


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        ((2, 32, 8, 8), (32, 32, 3, 3)),  # few channels: transforms would be most of the work
        ((2, 8, 8, 8), (512, 8, 3, 3)),
        ((2, 64, 2, 2), (64, 64, 3, 3)),  # a tile would be mostly padding
        ((2, 64, 8, 8), (64, 64, 1, 1)),
        ((2, 64, 8, 8), (64, 64, 5, 5)),
        ((64, 8, 8), (64, 64, 3, 3)),  # one image without a batch
        ((0, 64, 8, 8), (64, 64, 3, 3)),
    ],
)
def test_convolutions_for_which_it_does_not_pay_are_torchs_own(
    shape: tuple[int, ...], filters: tuple[int, ...]
) -> None:
    lies = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    x, weight = images(*shape, lies=lies), images(*filters)
    with Quicker():
        found = F.conv2d(x, weight, padding=1)
    assert torch.equal(found, F.conv2d(x, weight, padding=1))
    assert not is_winograd(found)


def test_what_does_not_fit_is_said_by_torch() -> None:
    with Quicker(), pytest.raises(RuntimeError, match="to have 64 channels, but got 60"):
        F.conv2d(images(2, 60, 8, 8), images(64, 64, 3, 3), padding=1)


def test_float64_and_groups_are_torchs_own() -> None:
    x, weight = images(2, 64, 8, 8), images(64, 64, 3, 3)
    with Quicker():
        assert not is_winograd(F.conv2d(x.double(), weight.double(), padding=1))
        assert not is_winograd(F.conv2d(x, weight[:, :32], padding=1, groups=2))


@pytest.mark.parametrize("first", [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(8)])
def test_what_comes_out_may_be_changed_in_place(first: nn.Module) -> None:
    x = images(2, 64 if isinstance(first, nn.Conv2d) else 8, 8, 8)

    def chain(x: Tensor) -> Tensor:
        out: Tensor = first(x)
        out += x
        return F.relu(out, inplace=True)

    with Quicker():
        found = with_gradients(chain, [x])
    assert_close(found, [value.double() for value in with_gradients(chain, [x])], 2e-5)


def test_a_run_that_is_gone_on_with_on_another_device_is_in_float32_there() -> None:
    assert not isinstance(Precision("float32-fast", torch.device("meta")).autocast(), Quicker)


def test_what_is_frozen_gets_no_gradient() -> None:
    conv = nn.Conv2d(64, 64, 3, padding=1)
    conv.weight.requires_grad_(False)
    x = images(2, 64, 8, 8)
    with Quicker():
        out = conv(x)
    out.sum().backward()
    assert is_winograd(out)
    assert conv.weight.grad is None
    assert x.grad is not None
    assert conv.bias is not None
    assert conv.bias.grad is not None


@pytest.mark.parametrize("side", [8, 9, 48])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_batch_norms_of_few_channels_are_those_of_torch(channels: int, side: int) -> None:
    inputs = [images(5, channels, side, side), vector(channels), vector(channels)]

    def normalise(statistics: list[Tensor]) -> Any:
        return lambda x, weight, bias: F.batch_norm(3 * x + 2, *statistics, weight, bias, True, 0.2, 1e-3)

    def statistics(dtype: torch.dtype) -> list[Tensor]:
        return [torch.full((channels,), 0.5, dtype=dtype), torch.full((channels,), 2.0, dtype=dtype)]

    quick, exact = statistics(torch.float32), statistics(torch.float64)
    with Quicker():
        found = with_gradients(normalise(quick), inputs)
    assert type(found[0].grad_fn).__name__ == "_BatchNormBackward"
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert_close(found, with_gradients(normalise(exact), doubled(inputs)), 1e-5)
    assert_close(quick, exact, 1e-6)


@pytest.mark.parametrize("channels", [1, 8])
def test_in_bfloat16_batch_norms_of_few_channels_are_quicker_and_as_exact(channels: int) -> None:
    x = (3 * images(5, channels, 24, 24) + 2).detach().bfloat16()
    weight, bias = vector(channels), vector(channels)
    factor = images(4, channels, 24, 24)[[0, 1, 2, 3, 0]].detach().bfloat16()

    def trained(dtype: torch.dtype, *, quicker: bool) -> list[Tensor]:
        """What comes out, the gradients of what goes in, and the statistics."""
        norm = nn.BatchNorm2d(channels, dtype=dtype)
        with torch.no_grad():
            norm.weight.copy_(weight)
            norm.bias.copy_(bias)
        given = x.detach().clone().to(dtype if dtype == torch.float64 else x.dtype).requires_grad_()
        with Precision("bfloat16").autocast() if quicker else nullcontext():
            out = norm(given)
        assert (type(out.grad_fn).__name__ == "_BatchNormBackward") == quicker
        (out * factor.to(out.dtype)).sum().backward()
        assert out.dtype == given.dtype
        return [out, given.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]

    found, exact = trained(torch.float32, quicker=True), trained(torch.float64, quicker=False)
    # What is of the images' shape is rounded to 8 binary digits, at the end; sums have the digits of float32.
    assert_close(found[:2], exact[:2], 2**-8)
    assert_close(found[4:], exact[4:], 1e-5)
    of_torch = trained(torch.float32, quicker=False)
    for mine, theirs, true in zip(found[2:4], of_torch[2:4], exact[2:4], strict=True):
        assert (mine - true).norm() <= 1.5 * (theirs - true).norm() + 1e-4 * true.norm()


def test_in_bfloat16_other_norms_and_all_convolutions_are_torchs_own() -> None:
    network = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.Conv2d(64, 8, 1))
    halves, x = nn.BatchNorm2d(8).bfloat16(), images(4, 64, 12, 12)
    found = []
    for context in (Precision("bfloat16").autocast(), torch.autocast("cpu", dtype=torch.bfloat16)):
        again, norm = copy.deepcopy(network), copy.deepcopy(halves)
        with context:
            found.append([again(x), norm(x[:, :8].bfloat16()), *again.buffers(), *norm.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_other_batch_norms_are_torchs_own() -> None:
    for channels, training, lies in (
        (8, False, torch.channels_last),
        (16, True, torch.channels_last),
        (8, True, torch.contiguous_format),
    ):
        norms = [nn.BatchNorm2d(channels).train(training) for _ in range(2)]
        x = images(4, channels, 6, 6, lies=lies)
        with Quicker():
            found = norms[0](x)
        assert torch.equal(found, norms[1](x))
        assert all(torch.equal(a, b) for a, b in zip(norms[0].buffers(), norms[1].buffers(), strict=True))
    bare = nn.BatchNorm2d(8, affine=False, track_running_stats=False)
    x = images(4, 8, 6, 6)
    with Quicker():
        found = bare(x)
    assert torch.equal(found, bare(x))
    with Quicker(), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(8)(images(1, 8, 1, 1))


def small_fit(out: Path | None, *observers: Any, resume: bool = False, precision: Any = "fastest") -> Run:
    """A few steps of quick on noise; its network has a convolution of each kind, and norms of 8 channels."""
    noise = ImageSet(
        split="train",
        classes=("a", "b"),
        labels=np.arange(48) % 2,
        pixels=np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8),
    )
    recipe = find_recipe("quick")
    # At its own rate a few steps make much of a rounding error.
    recipe = replace(recipe, batch_size=8, precision=precision, optimizer=replace(recipe.optimizer, lr=0.02))
    trainer = Trainer("convnet", recipe, observers=list(observers))
    return trainer.fit(noise, out=out, resume=resume, report=False, checkpoint_every="1steps")


def stop(event: Event) -> None:
    if isinstance(event, StepFinished) and event.step == 2:
        raise KeyboardInterrupt


def test_a_training_without_units_for_bfloat16_is_quick_and_the_same_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: False)
    run = small_fit(None)
    assert run.config["settings"]["training_precision"] == "float32-fast"
    assert run.config["settings"]["precision"] == "float32"
    assert_same_weights(small_fit(None).network, run.network)
    plain = small_fit(None, precision="float32")
    assert plain.config["settings"]["training_precision"] == "float32"
    assert not torch.equal(next(run.network.parameters()), next(plain.network.parameters()))
    assert run.history[0]["training_loss"] == pytest.approx(plain.history[0]["training_loss"], rel=5e-3)
    with pytest.raises(KeyboardInterrupt):
        small_fit(tmp_path / "run", stop)
    # Gone on with where there are units: in what it was begun.
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: True)
    assert_same_weights(small_fit(tmp_path / "run", resume=True).network, run.network)
