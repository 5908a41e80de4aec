"""What must hold on a CUDA device, on a real one: skipped where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import truefit
from helpers import CLASSES, assert_same_weights, image_set, tiny_network, weights
from truefit import NonFiniteError, Recipe, Trainer, find_recipe, loop
from truefit.data.augment import Pipeline
from truefit.data.batches import MemoryBatches, make_batches
from truefit.data.imageset import Data, ImageSet
from truefit.data.plan import Plan
from truefit.errors import DeviceMemoryError
from truefit.events import Event, Note, StepFinished
from truefit.models.convnet import ConvNet
from truefit.optim.execution import WARM_UP, Recorder
from truefit.optim.muon import orthogonalised, orthogonalised_together
from truefit.optim.optimizers import build_optimizer
from truefit.optim.step import GradientStep
from truefit.precision import Precision, sent
from truefit.recipes.recipe import AugmentConfig, EmaConfig, LossConfig, OptimizerConfig, ScheduleConfig
from truefit.tasks.single_label import SingleLabel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

CUDA = torch.device("cuda")
OPTIMIZERS: list[Any] = ["adam", "adamw", "sgd", "muon"]


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """Kernels of convolutions that give the same bits twice, so that bits can be compared."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


def pixels(n: int, split: str = "train", side: int = 32, classes: int = CLASSES) -> ImageSet:
    """Images whose brightness tells the class."""
    draw = np.random.default_rng(len(split))  # no split shares an image with another
    labels = np.arange(n) % classes
    noise = draw.integers(0, 100, (n, side, side, 3))
    return ImageSet(
        split=split,
        classes=tuple("abcdefgh"[:classes]),
        labels=labels,
        pixels=(noise + 40 * labels[:, None, None, None]).astype(np.uint8),
        image_size=side,
    )


def data(n: int = 40) -> Data:
    return Data(
        name="x", spec="x", train=pixels(n), validation=pixels(24, "validation"), test=pixels(24, "test"), mirror=True
    )


def noting(notes: list[str]) -> Callable[[Event], None]:
    """An observer that keeps what is said, such as that steps could not be recorded."""

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    return listen


def batches(n: int = 44, batch_size: int = 4) -> MemoryBatches:
    images = pixels(n)
    assert images.pixels is not None
    return MemoryBatches(
        torch.from_numpy(images.pixels),
        torch.from_numpy(images.labels),
        Plan(samples=n, batch_size=batch_size, seed=0),
        Pipeline(
            mean=(0.5,) * 3,
            std=(0.2,) * 3,
            scale=255.0,
            augmentation=AugmentConfig(flip=True, shift=0.1, cutout=0.2, brightness=0.1, contrast=0.1, erase=0.3),
        ),
        device=CUDA,
    )


def convnet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(ConvNet(CLASSES), nn.Dropout(0.2)).to(CUDA, memory_format=torch.channels_last)


def stepped(
    network: nn.Module, optimizer: str, *, recorded: bool, epochs: int = 2, says: list[str] | None = None, **more: Any
) -> tuple[list[float], GradientStep]:
    """Train with steps that are recorded, or run one call after another; the losses."""
    config = OptimizerConfig(name=optimizer, lr=0.01)  # type: ignore[arg-type]
    optimizer_made = build_optimizer(network, config, recorded=True)
    parameters = [p for group in optimizer_made.param_groups for p in group["params"]]
    recorder = Recorder(parameters, CUDA, ([] if says is None else says).append) if recorded else None
    precision = more.pop("precision", Precision())
    gradient = GradientStep(network, optimizer_made, clip_norm=1.0, precision=precision, recorder=recorder)
    torch.manual_seed(1)
    losses: list[float] = []
    taken = more.pop("batches", None) or batches()
    for epoch in range(epochs):
        losses += loop.train_epoch(
            network,
            taken,
            SingleLabel(CLASSES),
            optimizer_made,
            epoch=epoch,
            precision=precision,
            gradient=gradient,
            **more,
        ).losses
    return losses, gradient


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_steps_are_the_very_steps(optimizer: str, accumulate: int) -> None:
    """44 samples in batches of 4, and 42: the last batch is short and not recorded."""
    for n in (44, 42):
        plain, recorded = convnet(), convnet()
        wanted, _ = stepped(plain, optimizer, recorded=False, batches=batches(n), accumulate=accumulate)
        found, gradient = stepped(recorded, optimizer, recorded=True, batches=batches(n), accumulate=accumulate)
        assert gradient.recorder is not None
        assert len(gradient.recorder.graphs) == 1
        assert not gradient.recorder.given_up
        assert found == wanted
        assert_same_weights(recorded, plain)


def test_recorded_steps_in_bfloat16_are_the_very_steps() -> None:
    plain, recorded = convnet(), convnet()
    half = Precision("bfloat16", CUDA)
    wanted, _ = stepped(plain, "muon", recorded=False, precision=half)
    found, _ = stepped(recorded, "muon", recorded=True, precision=half)
    assert found == wanted
    assert_same_weights(recorded, plain)


def test_gradients_are_there_after_a_recorded_step() -> None:
    norms: dict[bool, list[float]] = {True: [], False: []}
    for recorded in norms:
        network = convnet()

        def note(event: Event, network: nn.Module = network, kept: list[float] = norms[recorded]) -> None:
            if isinstance(event, StepFinished):
                kept.append(sum(float(p.grad.norm()) for p in network.parameters() if p.grad is not None))

        stepped(network, "adamw", recorded=recorded, observe=note)
    assert len(norms[True]) == 22
    assert norms[True] == norms[False]
    assert min(norms[True]) > 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_recorded_step_that_is_not_finite_leaves_the_weights(optimizer: str) -> None:
    class Poisoned(MemoryBatches):
        def epoch(self, epoch: int, first: int = 0) -> Any:
            for step, batch in enumerate(super().epoch(epoch, first), start=first):
                if step == 8:
                    batch.images.fill_(torch.nan)
                yield batch

    taken = batches(60)
    poisoned = Poisoned(taken.images.cpu(), taken.labels.cpu(), taken.plan, taken.pipeline, device=CUDA)
    until_then, network = convnet(), convnet()
    stepped(until_then, optimizer, recorded=True, epochs=1, batches=_First(batches(60), 8))
    with pytest.raises(NonFiniteError) as caught:
        stepped(network, optimizer, recorded=True, epochs=1, batches=poisoned)
    assert caught.value.step == 8
    assert_same_weights(network, until_then)


class _First:
    """The first `most` batches of an epoch."""

    def __init__(self, whole: MemoryBatches, most: int) -> None:
        self.whole, self.most = whole, most
        self.samples, self.steps, self.batch_size = 4 * most, most, 4

    def epoch(self, epoch: int, first: int = 0) -> Any:
        with closing(self.whole.epoch(epoch, first)) as stream:
            for _ in range(self.most):
                yield next(stream)

    def indices(self, epoch: int, step: int) -> list[int] | None:
        return self.whole.indices(epoch, step)

    def damaged(self, epoch: int, step: int) -> list[int]:
        return []


def test_a_network_that_asks_the_device_is_not_recorded_and_trained_all_the_same() -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = convnet()

        def forward(self, images: Tensor) -> Tensor:
            outputs: Tensor = self.inner(images)
            return outputs * (1.0 if float(outputs.detach().sum()) > -1e9 else 2.0)

    plain, asking = convnet(), Asking()
    wanted, _ = stepped(plain, "adamw", recorded=False)
    said: list[str] = []
    found, gradient = stepped(asking, "adamw", recorded=True, says=said)
    assert gradient.recorder is not None
    assert gradient.recorder.given_up
    assert len(said) == 1
    assert "CUDA graph" in said[0]
    assert found == wanted
    assert_same_weights(asking.inner, plain)


def test_a_label_out_of_range_is_found_among_recorded_steps() -> None:
    taken = batches(60)
    labels = taken.labels.cpu()
    labels[taken.plan.batches(0)[9][0]] = CLASSES
    images = torch.from_numpy(pixels(60).pixels)  # type: ignore[arg-type]
    images = images.permute(0, 3, 1, 2).float() / 255
    set_of_ones_own = torch.utils.data.TensorDataset(images, labels)
    bad = make_batches(set_of_ones_own, batch_size=4, device=CUDA, role="training set", seed=0)
    with pytest.raises(truefit.InputError, match=f"label {CLASSES} is outside"):
        stepped(convnet(), "adamw", recorded=True, batches=bad)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("recorded", [False, True])
def test_the_device_is_not_waited_for_in_a_step(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "READ_BACK_SECONDS", 1e9)
    network = convnet()
    seen = 0

    def strict(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, StepFinished)
        # From after warm-up and recording to before the figures of the epoch are read.
        torch.cuda.set_sync_debug_mode("error" if WARM_UP + 2 <= seen < 11 else "default")

    try:
        stepped(network, "muon", recorded=recorded, epochs=1, observe=strict)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert seen == 11


def test_images_are_prepared_as_on_the_cpu() -> None:
    there = batches()
    here = MemoryBatches(there.images.cpu(), there.labels.cpu(), there.plan, there.pipeline, device=torch.device("cpu"))
    for found, wanted in zip(there.epoch(1), here.epoch(1), strict=True):
        assert torch.equal(found.targets.cpu(), wanted.targets)
        assert torch.allclose(found.images.cpu(), wanted.images, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_what_is_sent_arrives_and_nothing_is_waited_for() -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        arrived = sent(torch.arange(5), CUDA)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert arrived.device.type == "cuda"
    assert arrived.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (16, 16)])
def test_matrices_that_are_orthogonalised_together_are_each_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(CUDA)
    together = orthogonalised_together(matrices)
    for matrix, found in zip(matrices, together, strict=True):
        assert torch.linalg.svdvals(found).sub(1).abs().max() < 0.45
        wanted = orthogonalised(matrix.cpu())
        assert float((found.cpu() - wanted).norm() / wanted.norm()) < 0.05


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("model", ["convnet", "resnet18", "timm:resnet10t", "speednet"])
def test_a_named_model_learns(model: str, precision: Any) -> None:
    recipe = Recipe(
        epochs=6,
        batch_size=8,
        precision=precision,
        optimizer=OptimizerConfig(name="adamw", lr=3e-3),
        ema=EmaConfig(decay=0.9),
    )
    notes: list[str] = []
    run = Trainer(model, recipe, observers=[noting(notes)]).fit(data(80))
    assert not any("CUDA graph" in note for note in notes)
    assert run.config["settings"]["device"] == "cuda"
    assert run.config["settings"]["recorded"] == (precision != "float16")
    assert run.evaluation is not None
    assert run.evaluation.accuracy > 0.6


@pytest.mark.parametrize("execution", ["graph", "eager"])
def test_two_trainings_are_equal_and_one_that_was_killed_too(execution: Any, tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch_size=4, ema=EmaConfig(decay=0.9), optimizer=OptimizerConfig(name="muon"))

    def train(stop: int | None = None, **fit: Any) -> truefit.Run:
        def watch(event: Event) -> None:
            if isinstance(event, StepFinished) and 10 * event.epoch + event.step == stop:
                raise KeyboardInterrupt

        return Trainer("convnet", replace(recipe, execution=execution), observers=[watch]).fit(data(), **fit)

    first, second = train(), train()
    assert first.config["settings"]["recorded"] == (execution == "graph")
    assert_same_weights(first.network, second.network)
    for stop in (1, 13, 24):
        out = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            train(stop, out=out, checkpoint_every="1steps")
        resumed = train(out=out, resume=True, checkpoint_every="1steps")
        assert_same_weights(resumed.network, first.network)
        assert [row["training_loss"] for row in resumed.history] == [row["training_loss"] for row in first.history]


@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method`", "ignore:Please use the new API settings to control TF32"
)
def test_compiled_steps_learn_and_the_network_is_given_back_as_it_was() -> None:
    recipe = replace(find_recipe("speedrun"), epochs=8, batch_size=20)
    run = Trainer("speednet", recipe).fit(data(80))
    assert run.config["settings"]["compiled"]
    assert "forward" not in run.network.__dict__
    assert run.evaluation is not None
    assert run.evaluation.accuracy > 0.6


def test_mixed_images_and_growing_ones_are_recorded() -> None:
    recipe = Recipe(
        epochs=4,
        batch_size=8,
        augment=AugmentConfig(mixup=0.2, cutmix=1.0, start_shrink=0.75),
        loss=LossConfig(label_smoothing=0.1, class_weights="balanced"),
    )
    eager = Trainer("convnet", replace(recipe, execution="eager")).fit(data(80))
    notes: list[str] = []
    recorded = Trainer("convnet", recipe, observers=[noting(notes)]).fit(data(80))
    assert not any("CUDA graph" in note for note in notes)
    assert not eager.config["settings"]["recorded"]
    assert recorded.config["settings"]["recorded"]
    # The rate is a float64 here and a float32 there: near, and not the same bits.
    for left, right in zip(eager.history, recorded.history, strict=True):
        assert left["training_loss"] == pytest.approx(right["training_loss"], rel=2e-2)


def test_a_run_made_here_is_used_on_the_cpu(tmp_path: Path) -> None:
    run = Trainer("convnet", Recipe(epochs=2, batch_size=8)).fit(data(80), out=tmp_path / "run")
    here = truefit.load(tmp_path / "run")
    there = truefit.load(tmp_path / "run", device="cpu")
    image = torch.rand(3, 3, 32, 32)
    assert next(here.network.parameters()).device.type == "cuda"
    assert next(there.network.parameters()).device.type == "cpu"
    assert np.allclose(here.predict(image).probabilities, there.predict(image).probabilities, atol=1e-3)
    assert run.evaluation is not None


def test_the_functions_and_the_class_on_the_device() -> None:
    images = image_set(40)
    network = tiny_network(batchnorm=True).to(CUDA)
    before = weights(network)
    losses = truefit.train(
        network, images, 8, torch.optim.Adam(network.parameters(), fused=True), nn.CrossEntropyLoss()
    )
    assert len(losses) == 5
    assert any(not torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert len(truefit.validate(network, images, 8, nn.CrossEntropyLoss())) == 5
    assert 0 <= truefit.accuracy(network, images) <= 1


def test_steps_are_recorded_whose_schedule_waits_for_a_plateau() -> None:
    recipe = Recipe(
        epochs=3,
        batch_size=8,
        schedule=ScheduleConfig(name="reduce-on-plateau", patience=0),
        optimizer=OptimizerConfig(name="sgd"),
    )
    notes: list[str] = []
    run = Trainer("resnet18", recipe, observers=[noting(notes)]).fit(data(40))
    assert not any("CUDA graph" in note for note in notes)
    assert len(run.history) == 3
    assert run.config["settings"]["recorded"]


def test_out_of_memory_says_what_fits() -> None:
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 700e6) / whole)
    try:
        with pytest.raises(DeviceMemoryError, match="out of memory") as caught:
            Trainer("resnet18", Recipe(epochs=1, batch_size=2048)).fit(pixels(2048, side=64))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "--accumulate" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        ["--max-time", "12s"],
        ["--batch-size", "auto", "--epochs", "1"],
        ["--seeds", "2", "--epochs", "1"],
        ["--calibrate", "--epochs", "2", "--doctor", "full"],
    ],
    ids=" ".join,
)
def test_the_command(options: list[str], tmp_path: Path) -> None:
    """Digits, from training to prediction and export."""
    out = tmp_path / "run"

    def truefit_(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "truefit", *words], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = truefit_("train", "digits", "--out", str(out), *options)
    assert "GPU" in said
    if "--seeds" in options:
        return
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["recorded"]
    truefit_("evaluate", str(out))
    truefit_("export", str(out), "--to", "torch")
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert history[-1]["training_loss"] < 2.4
