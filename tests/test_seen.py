"""A network measured on what it has learnt from: it is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from truefit import Trainer, load
from truefit.data.lookup import load_data
from truefit.events import Event, Note
from truefit.measure import evaluate_and_note


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 10))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    Trainer(network(), epochs=1, device="cpu").fit("digits", out=out, report=False)
    return out


def warnings_of(start: Path, split_seed: int) -> list[str]:
    said: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note) and event.warning:
            said.append(event.text)

    data = load_data("digits", split_seed=split_seed)
    few = replace(data, train=data.train.subset(range(64)))
    Trainer(network(), epochs=1, device="cpu", weights_from=start, observers=[listen]).fit(few)
    return [text for text in said if "have seen" in text]


def test_weights_from_another_split_of_the_same_data_are_warned_of(run):
    (text,) = warnings_of(run, split_seed=1)
    assert "validation and test" in text and str(run) in text


def test_weights_from_the_same_split_are_not(run):
    assert warnings_of(run, split_seed=0) == []


def test_an_evaluation_on_the_training_images_is_warned_of(run):
    said: list[str] = []
    predictor = load(run, network=network()).predictor

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    data = load_data("digits")
    evaluate_and_note(predictor, data.test, split="data", observe=listen)
    assert said == []
    evaluate_and_note(predictor, data.train, split="data", observe=listen)
    assert len(said) == 1 and "trained on" in said[0]
