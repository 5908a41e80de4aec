"""What may choose and who counts: selection on test, copies across splits, the ledger."""

from __future__ import annotations

import json
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from helpers import CLASSES, SIDE, image_set, tiny_network
from truefit import ImageSet, InputError, Recipe, Trainer, TruefitWarning, evaluate, load
from truefit.data.imageset import Data
from truefit.data.lookup import _without_copies
from truefit.data.overlap import shared
from truefit.recipes.recipe import AugmentConfig
from truefit.runs.ledger import Ledger, looks_here, unrecorded

RECIPE = Recipe(epochs=2, batch_size=16, augment=AugmentConfig(flip=False, shift=0.0))
TRAIN, VALIDATION, TEST = image_set(32, seed=1), image_set(20, seed=2), image_set(20, seed=3)


def images(split: str, n: int, seed: int, side: int = SIDE) -> ImageSet:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    pixels = (draw.integers(0, 120, (n, side, side, 3)) + 30 * labels[:, None, None, None]).astype(np.uint8)
    return ImageSet(split=split, classes=tuple("abcd"), labels=labels, pixels=pixels, image_size=side)


def trainer(**more) -> Trainer:
    return Trainer(tiny_network(), RECIPE, device="cpu", **more)


class Wrapped(Dataset):
    """A data set that says nothing about what it holds."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        return self.inner[index]


def copied(dataset: TensorDataset) -> TensorDataset:
    return TensorDataset(*(tensor.clone() for tensor in dataset.tensors))


@pytest.mark.parametrize(
    "validation",
    [
        TEST,
        Subset(TEST, [3, 4]),
        Subset(Subset(TEST, range(5, 20)), [0]),
        ConcatDataset([VALIDATION, Subset(TEST, [7])]),
        copied(TEST),
        TensorDataset(TEST.tensors[0][8:12].clone(), TEST.tensors[1][8:12]),
    ],
    ids=["itself", "subset", "subset of subset", "joined", "copy", "part of a copy"],
)
def test_a_validation_set_with_samples_of_test_is_refused_and_works_when_said(validation):
    with pytest.raises(InputError, match="shares samples with the test set") as caught:
        trainer().fit(TRAIN, validation, test_set=TEST)
    assert "--select-on test" in str(caught.value)
    run = trainer().fit(TRAIN, validation, test_set=TEST, select_on="test")
    assert run.selected_on == run.evaluation.selected_on == run.evaluation.split == "test"
    for text in (str(run.evaluation), repr(run.evaluation), run.evaluation.to_json()["label"], repr(run)):
        assert "selected on test" in text
    assert all(record["validation_split"] == "test" for record in run.history)
    assert run.ledger.summary()["test"].chose == ("best epoch",)
    assert "selected on test" in str(evaluate(run.predictor, TEST, split="test")) or not isinstance(TEST, ImageSet)


def test_test_under_another_name_is_found_by_comparing_samples():
    with pytest.raises(InputError, match="shares samples"):
        trainer().fit(TRAIN, Wrapped(TEST), test_set=Wrapped(copied(TEST)))


def test_parts_of_one_data_set_that_share_nothing_are_fine():
    whole = Wrapped(image_set(72, seed=9))
    run = trainer().fit(Subset(whole, range(32)), Subset(whole, range(32, 52)), test_set=Subset(whole, range(52, 72)))
    assert run.evaluation.to_json()["label"] is None
    assert "selected" not in str(run.evaluation)


def test_images_are_compared_by_content():
    test, validation = images("test", 12, 1), images("validation", 12, 2)
    assert len(shared(validation, test)) == 0
    mixed = replace(validation, pixels=np.concatenate([validation.pixels[:10], test.pixels[4:6]]))
    assert shared(mixed, test).tolist() == [10, 11]
    with pytest.raises(InputError, match="shares samples"):
        trainer().fit(images("train", 32, 3), mixed, test_set=test)


def test_copies_in_train_are_counted_and_warned_about_not_refused(tmp_path):
    train = ConcatDataset([TRAIN, Subset(TEST, [1, 2, 3])])
    with pytest.warns(TruefitWarning, match="3 training samples are in the test set too"):
        trainer().fit(train, VALIDATION, test_set=TEST, out=tmp_path / "run")
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["train_shared_with_test"] == 3
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(observers=[seen.append]).fit(train, VALIDATION, test_set=TEST)
    assert any(getattr(event, "warning", False) and "3 training samples" in event.text for event in seen)


def test_a_drawn_validation_split_gives_up_copies_of_test_images():
    test, validation = images("test", 12, 1), images("validation", 12, 2)
    validation = replace(validation, pixels=np.concatenate([validation.pixels[:10], test.pixels[4:6]]))
    data = Data(name="x", spec="x", train=images("train", 8, 3), validation=validation, test=test, mirror=False)
    assert _without_copies(data) is data
    cleaned = _without_copies(replace(data, drawn=("validation",)))
    assert len(cleaned.validation) == 10
    assert "2 images left out" in cleaned.notes[-1]


def test_select_on_test_needs_a_test_set():
    with pytest.raises(InputError, match="no test set to select on"):
        trainer().fit(TRAIN, VALIDATION, select_on="test")


def test_calibration_without_validation_is_refused_and_on_test_labelled():
    with pytest.raises(InputError, match="calibration needs a validation set"):
        trainer(calibrate=True).fit(TRAIN, test_set=TEST)
    run = trainer(calibrate=True).fit(TRAIN, test_set=TEST, select_on="test")
    assert set(run.ledger.summary()["test"].chose) == {"best epoch", "temperature", "thresholds"}
    assert "selected on test" in str(run.evaluation)


def test_the_ledger_says_what_chose_what_and_how_often(tmp_path):
    recipe = replace(RECIPE, early_stopping=5, schedule=replace(RECIPE.schedule, name="reduce-on-plateau"))
    train, validation, test = images("train", 32, 1), images("validation", 16, 2), images("test", 16, 3)
    run = Trainer(tiny_network(), recipe, device="cpu", calibrate=True).fit(
        train, validation, test_set=test, out=tmp_path / "run"
    )
    found = run.ledger.summary()
    chose = ("best epoch", "early stopping", "learning rate", "temperature", "thresholds")
    assert (found["validation"].looks, found["validation"].chose, found["validation"].n) == (3, chose, 16)
    assert (found["test"].looks, found["test"].chose) == (1, ())
    again = load(tmp_path / "run", network=tiny_network())
    assert evaluate(again.predictor, test).looks == 2
    assert evaluate(again.predictor, images("test", 16, 4)).looks == 1
    assert again.ledger.looks("test") == run.ledger.looks("test") == 2


def test_looks_of_all_runs_are_counted_beside_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "cache"))
    train, validation, test = images("train", 32, 1), images("validation", 16, 2), images("test", 16, 3)
    for name in ("one", "two"):
        trainer().fit(train, validation, test_set=test, out=tmp_path / name)
    with unrecorded():
        trainer().fit(train, validation, test_set=test)
    here = looks_here(test.fingerprint())
    assert (here.looks, here.runs) == (2, (str(tmp_path / "one"), str(tmp_path / "two")))
    assert looks_here(validation.fingerprint()).looks == 4
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    assert looks_here(test.fingerprint()) is None


def test_many_writers_lose_no_line_and_each_gets_its_own_number(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "cache"))
    numbers = []

    def work():
        ledger = Ledger(tmp_path / "ledger.jsonl")
        numbers.extend(ledger.look("test", by="evaluate", fingerprint="blake2b:ab") for _ in range(25))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 151))
    assert looks_here("blake2b:ab").looks == 150


def test_a_ledger_that_cannot_be_written_warns_and_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "file"))
    with pytest.warns(TruefitWarning, match="beside the data can't be written"):
        assert Ledger().look("test", by="evaluate", fingerprint="blake2b:ab") == 1
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    ledger = Ledger(tmp_path / "file" / "ledger.jsonl")
    with pytest.warns(TruefitWarning, match="run's ledger can't be written"):
        assert ledger.look("test", by="evaluate") == 1


def test_a_broken_line_beside_the_data_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path))
    Ledger().look("test", by="evaluate", fingerprint="blake2b:ab")
    with (tmp_path / "looks/ab.jsonl").open("a") as file:
        file.write('{"schema": 1, "loo\n')
    assert looks_here("blake2b:ab").looks == 1


def test_a_changed_label_in_evaluation_json_is_found(tmp_path):
    from truefit import Evaluation

    run = trainer().fit(TRAIN, test_set=TEST, select_on="test")
    run.evaluation.save(tmp_path)
    assert Evaluation.load(tmp_path).label_of_selection == "selected on test"
    path = tmp_path / "evaluation.json"
    path.write_text(path.read_text().replace('"label": "selected on test"', '"label": null'))
    with pytest.raises(InputError, match="was changed: label"):
        Evaluation.load(tmp_path)


def test_shared_finds_torchvision_like_arrays():
    class Like(Dataset):
        def __init__(self, data):
            self.data = data

        def __len__(self):
            return len(self.data)

        def __getitem__(self, index):
            return torch.rand(3, 4, 4), 0

    rows = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    assert shared(Like(rows[2:].copy()), Like(rows[:3].copy())).tolist() == [0]
