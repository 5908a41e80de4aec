"""The monitors of truefit's own training: each speaks where it should, and nothing else changes."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from truefit import Trainer, TruefitWarning
from truefit.checkpoint.store import Store
from truefit.data.imageset import ImageSet
from truefit.doctor.explain import page
from truefit.events import Note, StepFinished
from truefit.monitors import all_monitors
from truefit.recipes.lookup import find_recipe
from truefit.recipes.recipe import LossConfig, OptimizerConfig, Recipe, ScheduleConfig

CLASSES, SAMPLES = 4, 480


def images(seed: int = 0, *, learnable: bool = True, noise: float = 1.0) -> TensorDataset:
    """Random images whose class shifts their mean; or labels that have nothing to do with them."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=draw)
    shift = labels[:, None, None, None] * (1.0 if learnable else 0.0)
    data = TensorDataset(noise * torch.randn(SAMPLES, 3, 6, 6, generator=draw) + shift, labels)
    data.classes = tuple("abcd")
    return data


class Network(nn.Module):
    """A convolution, a hidden layer, a head; `spare` is a layer that forward does not use."""

    def __init__(self, *, spare: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.hidden, self.head = nn.Conv2d(3, 8, 3), nn.Linear(32, 16), nn.Linear(16, CLASSES)
        self.spare = nn.Linear(4, 4) if spare else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), 2).flatten(1)
        return self.head(torch.relu(self.hidden(x)))


def found(network, *, lr=0.05, epochs=3, data=None, held=None, batch_size=4, spoken=True, **options):
    """Code and outcome of what speaks after a training; every finding by code where `spoken` is False."""
    recipe = find_recipe("standard")
    optimizer = OptimizerConfig(name="sgd", lr=lr, weight_decay=0.0)
    schedule = ScheduleConfig(name="one-cycle", warmup=0.2)
    recipe = replace(recipe, epochs=epochs, batch_size=batch_size, optimizer=optimizer, schedule=schedule)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruefitWarning)
        run = Trainer(network, recipe, **options).fit(data or images(), held or images(1))
    findings = {one["code"]: one for one in run.doctor["findings"]}
    return {code: one["outcome"] for code, one in findings.items() if one["outcome"] == "warn"} if spoken else findings


def test_healthy_training_is_silent_and_every_monitor_has_looked():
    findings = found(Network(), measure_training=True, spoken=False)
    assert {one["outcome"] for one in findings.values()} == {"ok"}, findings
    assert len(findings) == len(all_monitors())


def test_weights_that_no_step_moves():
    assert found(Network(spare=True)) == {"FIT901": "warn"}


@pytest.mark.parametrize("lr", [1e-9, 30.0])
def test_learning_rate_out_of_all_proportion(lr):
    network = Network()
    if lr > 1:
        # Bounded outputs: weights run away without the loss becoming infinite.
        network = nn.Sequential(network, nn.Hardtanh())
    assert found(network, lr=lr)["FIT902"] == "warn"


def test_units_that_no_sample_reaches():
    network = Network()
    with torch.no_grad():
        network.hidden.bias[:10] = -1e4
    assert found(network)["FIT903"] == "warn"


def test_labels_that_have_nothing_to_do_with_the_images():
    assert found(Network(), lr=0.01, data=images(learnable=False), held=images(1, learnable=False))["FIT904"] == "warn"


def test_loss_that_has_fallen_and_rises_above_guessing():
    from truefit.events import EpochFinished
    from truefit.monitors.no_better_than_guessing import Monitor
    from truefit.monitors.subject import Subject

    monitor = Monitor(Subject(network=Network(), classes=CLASSES))
    monitor.steps = 100
    for epoch, loss in enumerate([1.2, 0.4, 2.5]):
        monitor(EpochFinished(epoch=epoch, epochs=3, record={"training_loss": loss}))
        if epoch == 1:
            assert monitor.finding().outcome == "ok"
    assert monitor.finding().outcome == "warn"


@pytest.mark.parametrize(
    ("changes", "guessing"),
    [
        ({}, -0.9 * math.log(0.9) - 0.1 * math.log(0.1)),
        ({"sampling": "balanced"}, math.log(2)),
        ({"loss": LossConfig(class_weights="balanced")}, math.log(2)),
        ({"sampling": "balanced", "loss": LossConfig(focal=2.0)}, math.log(2) / 4),
    ],
)
def test_guessing_is_that_of_the_loss_and_of_what_an_epoch_shows(changes, guessing):
    labels = np.arange(100, dtype=np.int64) // 90
    pixels = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3)).astype(np.uint8)
    data = ImageSet(split="train", classes=("a", "b"), labels=labels, pixels=pixels)
    fit = Trainer("convnet", Recipe(**changes))._prepare(data, None, None)
    assert fit.epochs.monitors.monitors["no_better_than_guessing"].guessing == pytest.approx(guessing)


def test_one_class_for_every_image():
    network = Network()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias[2] = 1.0
    network.head.requires_grad_(False)
    assert found(network)["FIT905"] == "warn"


def test_validation_that_is_easier_than_training():
    training = images()
    wrong = training.tensors[1][::3]
    wrong.copy_((wrong + 1) % CLASSES)
    assert found(Network(), data=training, measure_training=True) == {"FIT906": "warn"}


def test_training_is_the_same_bit_for_bit_with_and_without_monitors(tmp_path):
    runs = []
    for monitors in (True, False):
        network = nn.Sequential(Network(), nn.Dropout(0.2))
        out = tmp_path / str(monitors)
        runs.append(Trainer(network, epochs=2, monitors=monitors).fit(images(), images(1), out=out))
        assert (out / "doctor.json").is_file() == monitors
    one, two = (run.network.state_dict() for run in runs)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert runs[1].doctor is None


def test_findings_stand_in_warnings_the_folder_the_report_and_a_loaded_run(tmp_path):
    import truefit

    with pytest.warns(TruefitWarning, match="FIT901 weights-stand-still") as told:
        Trainer(Network(spare=True), replace(find_recipe("standard"), epochs=3, batch_size=64)).fit(
            images(), images(1), out=tmp_path / "run"
        )
    assert sum("FIT901" in str(one.message) for one in told) == 1
    written = json.loads((tmp_path / "run/doctor.json").read_text())
    assert written["findings"][0]["code"] == "FIT901"
    assert "FIT901" in (tmp_path / "run/report.html").read_text()
    run = truefit.load(tmp_path / "run", network=Network(spare=True))
    assert run.doctor == {"findings": written["findings"]}


def test_each_monitor_has_a_code_of_its_own_with_a_page():
    import importlib

    rules = [importlib.import_module(monitor.__module__).RULE for monitor in all_monitors().values()]
    assert len({rule.code for rule in rules}) == len(rules)
    for rule in rules:
        assert page(rule.code).startswith(f"# {rule.name}\n")


@pytest.mark.parametrize("lr", [0.05, 1e-9])
def test_findings_of_a_training_that_was_broken_off_are_those_of_the_whole(tmp_path, lr):
    recipe = find_recipe("standard")
    recipe = replace(recipe, epochs=3, batch_size=4, optimizer=replace(recipe.optimizer, name="sgd", lr=lr))
    said: list[str] = []

    def trained(out, stop=None, **options):
        def watch(event):
            if isinstance(event, Note):
                said.append(event.text)
            if stop is None or not isinstance(event, StepFinished) or (event.epoch, event.step) < stop:
                return
            # Not before what the epochs until then had to tell is in a checkpoint: it is told again by who has none.
            if any(position.epoch == stop[0] for _, position in Store(out / "checkpoints").files()):
                raise KeyError

        trainer = Trainer(Network(), recipe, observers=[watch])
        return trainer.fit(images(), images(1), out=out, report=False, checkpoint_every="1steps", **options)

    wanted = trained(tmp_path / "whole").doctor
    notes = [text for text in said if text.startswith("FIT")]
    said.clear()
    for stop in ((1, 60), (2, 2)):  # in the middle of an epoch, and after two that have told what they had to tell
        with pytest.raises(KeyError):
            trained(tmp_path / "run", stop, resume=True)
    assert trained(tmp_path / "run", resume=True).doctor == wanted
    files = [(tmp_path / name / "doctor.json").read_bytes() for name in ("whole", "run")]
    assert files[0] == files[1]
    assert [text for text in said if text.startswith("FIT")] == notes
    assert bool(notes) == (lr < 1e-3)
