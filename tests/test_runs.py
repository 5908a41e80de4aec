"""A run folder: read back, measured again, and refused where it is damaged."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import truefit
from truefit import Evaluation, ImageSet, InputError, Recipe, Trainer
from truefit.recipes.recipe import OptimizerConfig
from truefit.runs.folder import RunFolder, next_run


@pytest.fixture(autouse=True)
def one_thread():
    """Data as small as this is done sooner by one thread than by two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(n: int, split: str, seed: int) -> ImageSet:
    draw = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 2
    pixels = (draw.integers(0, 160, (n, 24, 24, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    return ImageSet(split=split, classes=("dark", "light"), labels=labels, pixels=pixels, image_size=24)


RECIPE = Recipe(epochs=2, batch_size=16, optimizer=OptimizerConfig(name="adamw", lr=1e-3))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two runs of one kind from different seeds: one/ and two/. Only to be read."""
    place = tmp_path_factory.mktemp("runs")
    torch.set_num_threads(1)  # before the fixture below can
    for seed, name in enumerate(("one", "two")):
        trainer = Trainer("convnet", RECIPE, seed=seed, device="cpu")
        trainer.fit(pictures(32, "train", 0), pictures(12, "validation", 1), out=place / name)
    return place


@pytest.fixture
def run(runs, tmp_path) -> Path:
    """A copy of one/ that a test may spoil."""
    return shutil.copytree(runs / "one", tmp_path / "run")


def edit(file: Path, change: Callable[[dict], None]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def test_a_whole_run_loads(run):
    loaded = truefit.load(run)
    assert loaded.folder == run
    assert len(loaded.history) == 2
    assert loaded.evaluation.n == 12
    again = truefit.evaluate(loaded.predictor, pictures(12, "validation", 1), split="validation")
    assert (again.correct, again.loss) == (loaded.evaluation.correct, loaded.evaluation.loss)
    assert np.array_equal(again.probabilities, loaded.evaluation.probabilities)


def test_a_run_may_be_moved(run, tmp_path):
    moved = run.rename(tmp_path / "elsewhere")
    assert truefit.load(moved).folder == moved


# Damage, each with the file that the error must name.


def missing(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def truncated(name: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) * 2 // 3])

    return spoil


def emptied(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(b"")


def garbled(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(b"\xff\x00 not what was here")


FILES = [
    "config.json",
    "history.jsonl",
    "evaluation.json",
    "predictions.npz",
    "model/model.json",
    "model/weights.safetensors",
    "model/golden.safetensors",
]
KINDS = [missing, truncated, emptied, garbled]
# Without evaluation.json a run is one that was broken off; without config.json there is no run.
# An empty history is that of a run without a complete epoch.
EXCEPTIONS = {(missing, "evaluation.json"), (emptied, "history.jsonl")}
DAMAGE = [(kind, name) for kind in KINDS for name in FILES if (kind, name) not in EXCEPTIONS]


@pytest.mark.parametrize(("kind", "name"), DAMAGE, ids=[f"{kind.__name__}-{name}" for kind, name in DAMAGE])
def test_damaged_file_is_named(run, kind, name):
    kind(name)(run)
    with pytest.raises(InputError) as caught:
        truefit.load(run)
    assert Path(name).name in str(caught.value)
    del caught
    gc.collect()  # a file left open is a warning here, and a warning an error


def drop(key: str) -> Callable[[dict], None]:
    return lambda value: value.pop(key)


def put(key: str, to: object) -> Callable[[dict], None]:
    return lambda value: value.__setitem__(key, to)


EDITS = [
    ("config.json", put("schema", 99)),
    ("config.json", drop("settings")),
    ("config.json", put("settings", {"device": "cpu", "abacus": 1})),
    ("model/model.json", drop("schema")),
    ("model/model.json", drop("architecture")),
    ("model/model.json", drop("predictor")),
    ("model/model.json", lambda model: model["predictor"].pop("classes")),
    ("model/model.json", lambda model: model["predictor"].update(abacus=1)),
    ("model/model.json", lambda model: model["predictor"].update(mean=[0.9, 0.1, 0.5])),
    ("model/model.json", lambda model: model["architecture"].update(name="os.system")),
    ("model/model.json", lambda model: model["architecture"].update(num_classes=7)),
    ("evaluation.json", drop("split")),
    ("evaluation.json", drop("n")),
    ("evaluation.json", put("correct", 0)),
    ("evaluation.json", put("n", 11)),
    ("evaluation.json", put("accuracy", 1.5)),
    ("evaluation.json", put("loss", 0.0)),
    ("evaluation.json", put("interval", [0.99, 1.0])),
]


@pytest.mark.parametrize(("name", "change"), EDITS, ids=[f"{number}-{name}" for number, (name, _) in enumerate(EDITS)])
def test_edited_json_is_an_input_error(run, name, change):
    edit(run / name, change)
    with pytest.raises(InputError):
        truefit.load(run)


@pytest.mark.parametrize(
    "name", ["model/weights.safetensors", "model/golden.safetensors", "predictions.npz", "evaluation.json"]
)
def test_file_of_another_run_is_noticed(runs, run, name):
    assert (runs / "two" / name).read_bytes() != (run / name).read_bytes()
    shutil.copy(runs / "two" / name, run / name)
    with pytest.raises(InputError):
        truefit.load(run)


def test_golden_outputs_guard_a_network_that_differs_by_what_no_weight_shows(tmp_path):
    class Scaled(truefit.ConvNet):
        def __init__(self, scale: float) -> None:
            super().__init__(2)
            self.scale = scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.scale

    Trainer(Scaled(1.0), RECIPE).fit(pictures(32, "train", 0), out=tmp_path / "run")
    truefit.load(tmp_path / "run", network=Scaled(1.0))
    with pytest.raises(InputError, match="golden batch"):
        truefit.load(tmp_path / "run", network=Scaled(2.0))
    with pytest.raises(InputError, match="does not fit the weights"):
        truefit.load(tmp_path / "run", network=torch.nn.Linear(3, 2))


def test_predictions_with_a_pickle_are_refused(run):
    np.savez(run / "predictions.npz", index=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"predictions\.npz"):
        truefit.load(run)


# Evaluations


def logits(n: int = 25, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    return draw.normal(size=(n, classes)).astype(np.float32), draw.integers(0, classes, n)


def test_evaluation_is_read_back_as_it_was_saved(tmp_path):
    values, labels = logits()
    made = Evaluation.from_logits(
        values, labels, classes=("a", "b", "c"), split="test", paths=tuple(f"/p/ü{i}.png" for i in range(25))
    )
    made.save(tmp_path / "here")
    back = Evaluation.load(tmp_path / "here")
    assert back.to_json() == made.to_json()
    assert back.paths == made.paths
    for name in ("index", "label", "predicted", "probabilities"):
        assert np.array_equal(getattr(back, name), getattr(made, name))
        assert getattr(back, name).dtype == getattr(made, name).dtype


def test_evaluation_prints_its_figure_with_interval_n_and_split():
    values = np.eye(2, dtype=np.float32)[np.r_[np.zeros(354, int), np.ones(6, int)]]
    made = Evaluation.from_logits(values, np.zeros(360, np.int64), classes=("a", "b"), split="test")
    assert str(made) == "98.3 %  [96.4, 99.2]  n = 360 (test)"
    chosen = replace(made, split="validation", selected_on="validation")
    assert str(chosen).endswith("n = 360 (validation, selected on validation)")
    many = Evaluation.from_logits(np.zeros((1234, 2)), np.zeros(1234, np.int64), classes=("a", "b"), split="test")
    assert str(many) == "100.0 %  [99.7, 100.0]  n = 1,234 (test)"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_named_by_their_samples(bad):
    values, labels = logits()
    values[[4, 9], 1] = bad
    with pytest.raises(InputError, match="samples 4, 9 of test"):
        Evaluation.from_logits(values, labels, classes=("a", "b", "c"), split="test")


def test_confusion_and_recall_follow_from_the_rows():
    values, labels = logits(40)
    made = Evaluation.from_logits(values, labels, classes=("a", "b", "c"), split="test")
    confusion = np.array(made.measures["confusion"])
    for true in range(3):
        for predicted in range(3):
            assert confusion[true, predicted] == int(((labels == true) & (values.argmax(1) == predicted)).sum())
    assert [row["support"] for row in made.measures["per_class"]] == np.bincount(labels, minlength=3).tolist()
    assert made.correct == int(np.trace(confusion))


# The folder


def test_next_run_is_the_first_free_number(tmp_path):
    assert next_run(tmp_path, "a-b") == tmp_path / "a-b-1"
    (tmp_path / "a-b-1").mkdir()
    (tmp_path / "a-b-3").mkdir()
    assert next_run(tmp_path, "a-b") == tmp_path / "a-b-2"


def test_looks_count_only_the_split_that_is_asked_for(run):
    ledger = RunFolder.open(run).ledger
    before = ledger.looks("validation")
    assert ledger.look("test", by="evaluate", times=4) == ledger.looks("test") == 4
    assert ledger.looks("validation") == before == 3


def test_nothing_is_left_beside_the_files_of_a_run(run):
    assert [path for path in run.rglob("*") if "tmp" in path.name or path.name.startswith(".")] == []


@pytest.mark.parametrize("place", ["circle", "x" * 300])
def test_path_that_can_be_no_folder_is_refused(tmp_path, place):
    (tmp_path / "circle").symlink_to("circle")
    for check in (RunFolder.check_new, RunFolder.check_resumable):
        with pytest.raises(InputError, match="can't be an output folder"):
            check(tmp_path / place)


def test_line_of_the_history_without_its_epoch_is_refused(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"schema": 1, "epoch": 1}\n{"schema": 1, "lr": 0.1}\n')
    with pytest.raises(InputError, match="not that of an epoch") as caught:
        RunFolder(tmp_path).read_history()
    assert "line 2" in str(caught.value)
