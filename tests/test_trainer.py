"""The trainer: a model and a recipe, fitted to data, into a run."""

from __future__ import annotations

import json
import multiprocessing
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import log_loss
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import truefit
from truefit import ImageSet, InputError, NonFiniteError, Recipe, Trainer
from truefit.events import EpochFinished, FitStarted, PassFinished, PassStarted, Progress, StepFinished
from truefit.fitting.best import Best
from truefit.recipes.lookup import find_recipe
from truefit.recipes.recipe import LossConfig, OptimizerConfig, ScheduleConfig

CONSTANT = ScheduleConfig(name="constant", warmup=0.0)
SGD = OptimizerConfig(name="sgd", lr=0.1, momentum=0.0, weight_decay=0.0)
PLAIN = Recipe(epochs=3, batch_size=16, optimizer=SGD, schedule=CONSTANT)


@pytest.fixture(autouse=True)
def one_thread():
    """Data as small as this is done sooner by one thread than by two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Linear(nn.Module):
    """The smallest classifier of images: (N, 3, 4, 4) to logits (N, K)."""

    def __init__(self, classes: int = 2, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = nn.Linear(48, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1))


class WithDropout(Linear):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(F.dropout(images.flatten(1), 0.5, self.training))


def points(n: int = 64, seed: int = 0, classes: int = 2) -> TensorDataset:
    """Images (n, 3, 4, 4) whose mean tells the class, mostly."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=draw)
    images = torch.randn(n, 3, 4, 4, generator=draw) + 0.25 * labels[:, None, None, None]
    return TensorDataset(images, labels)


def opposite(data: TensorDataset) -> TensorDataset:
    """Every label the wrong one: the better the training, the worse the validation."""
    return TensorDataset(data.tensors[0], 1 - data.tensors[1])


def pictures(n: int = 30, split: str = "train", seed: int = 0, classes: tuple[str, ...] = ("a", "b", "c")) -> ImageSet:
    draw = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % len(classes)
    pixels = draw.integers(0, 160, (n, 24, 24, 3)) + 40 * labels[:, None, None, None]
    return ImageSet(split=split, classes=classes, labels=labels, pixels=pixels.astype(np.uint8), image_size=24)


def first_loss(data: TensorDataset, network: nn.Module, **options) -> float:
    """torch's cross-entropy of the untrained network."""
    with torch.no_grad():
        return float(F.cross_entropy(network(data.tensors[0]), data.tensors[1], **options))


def without_time(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k not in ("seconds", "images_per_second")} for record in history]


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# What fit gives


def test_fit_without_out_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Trainer(recipe=replace(PLAIN, epochs=1)).fit(pictures(), pictures(12, "validation", 1))
    assert list(tmp_path.iterdir()) == []
    assert run.folder is None
    assert len(run.history) == 1
    assert run.evaluation.split == "validation"
    assert run.config["model"]["name"] == "convnet"
    assert len(run.predict(torch.zeros(2, 3, 24, 24, dtype=torch.uint8))) == 2


def test_fit_on_data_measures_test_once_at_the_end(tmp_path):
    passes = []
    trainer = Trainer(
        recipe=replace(PLAIN, epochs=2),
        observers=[lambda event: passes.append(event.split) if isinstance(event, PassStarted) else None],
    )
    run = trainer.fit(pictures(), pictures(12, "validation", 1), test_set=pictures(9, "test", 2))
    assert passes == ["train", "validation", "train", "validation", "test"]
    assert (run.evaluation.split, run.evaluation.selected_on, run.evaluation.looks) == ("test", "validation", 1)
    assert run.evaluation.n == 9
    assert run.evaluation.classes == ("a", "b", "c")


def test_validation_and_test_have_no_influence_on_training():
    def trained(*sets) -> dict[str, torch.Tensor]:
        seen = []
        trainer = Trainer(WithDropout(), PLAIN, observers=[lambda e: seen.append(e)])
        network = trainer.model
        trainer.observers.append(lambda e: last.update(weights(network)) if isinstance(e, EpochFinished) else None)
        last: dict[str, torch.Tensor] = {}
        trainer.fit(points(), *sets)
        return last

    assert same(trained(), trained(points(20, 1)))
    assert same(trained(), trained(points(33, 2)))


def test_run_in_memory_and_run_read_back_are_the_same(tmp_path):
    run = Trainer(recipe=replace(PLAIN, epochs=2)).fit(pictures(), pictures(12, "validation", 1), out=tmp_path / "run")
    back = truefit.load(tmp_path / "run")
    assert run.folder == back.folder == tmp_path / "run"
    assert {"schema": 1, **run.config} == back.config
    assert [{"schema": 1, **record} for record in run.history] == back.history
    assert back.evaluation.to_json() == run.evaluation.to_json()
    assert np.array_equal(back.evaluation.probabilities, run.evaluation.probabilities)
    images = torch.randint(0, 256, (5, 3, 24, 24), dtype=torch.uint8)
    assert np.array_equal(back.predict(images).probabilities, run.predict(images).probabilities)


def test_history_has_the_keys_and_values_of_the_design():
    run = Trainer(Linear(), PLAIN, measure_training=True).fit(points(), points(20, 1))
    for epoch, record in enumerate(run.history, start=1):
        assert set(record) == {
            "epoch",
            "lr",
            "training_loss",
            "running_accuracy",
            "training_accuracy",
            "validation_loss",
            "validation_accuracy",
            "validation_n",
            "validation_correct",
            "validation_interval",
            "seconds",
            "images_per_second",
        }
        assert record["epoch"] == epoch
        assert record["validation_n"] == 20
        assert record["validation_accuracy"] == record["validation_correct"] / 20
        low, high = record["validation_interval"]
        assert 0 <= low <= record["validation_accuracy"] <= high <= 1
        assert low < high
        assert record["seconds"] > 0
        assert record["images_per_second"] > 0


def test_training_loss_is_the_mean_over_samples_and_running_accuracy_counts_them():
    # A rate that changes nothing: every batch, the short last one too, meets the same weights.
    recipe = replace(PLAIN, epochs=1, optimizer=replace(SGD, lr=1e-30), batch_size=10)
    data, network = points(64), Linear()
    (record,) = Trainer(network, recipe, measure_training=True).fit(data).history
    with torch.no_grad():
        hits = int((network(data.tensors[0]).argmax(1) == data.tensors[1]).sum())
    assert record["training_loss"] == pytest.approx(first_loss(data, Linear()), rel=1e-6)
    assert record["running_accuracy"] == record["training_accuracy"] == hits / 64


def test_validation_loss_is_log_loss_of_the_stored_probabilities(tmp_path):
    recipe = replace(PLAIN, loss=LossConfig(label_smoothing=0.2, class_weights=(1.0, 5.0)))
    run = Trainer(Linear(), recipe).fit(points(), points(41, 1), out=tmp_path / "run")
    best = run.history[int(run.evaluation.weights.removeprefix("best (epoch ").rstrip(")")) - 1]
    with np.load(tmp_path / "run" / "predictions.npz", allow_pickle=False) as rows:
        probabilities = rows["probabilities"].astype(np.float64)
        label = rows["label"]
    assert label.tolist() == points(41, 1).tensors[1].tolist()
    expected = log_loss(label, probabilities / probabilities.sum(axis=1, keepdims=True), labels=[0, 1])
    assert best["validation_loss"] == pytest.approx(expected, abs=1e-6)


def test_evaluation_of_the_best_weights_gives_that_epochs_line_exactly():
    run = Trainer(recipe=replace(PLAIN, epochs=3)).fit(pictures(), pictures(50, "validation", 1))
    best = max(run.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))
    assert run.evaluation.weights == f"best (epoch {best['epoch']})"
    assert run.evaluation.n == best["validation_n"]
    assert run.evaluation.correct == best["validation_correct"]
    assert run.evaluation.loss == best["validation_loss"]
    assert list(run.evaluation.interval) == best["validation_interval"]
    assert run.evaluation.label_of_selection == "selected on validation"
    assert "n = 50 (validation, selected on validation)" in str(run.evaluation)
    assert run.evaluation.looks == 4


# Which weights are kept


def judged(accuracy: float, loss_of_right: float):
    """An evaluation of 10 samples with this accuracy; the loss follows from how sure the right ones are."""
    labels = np.zeros(10, np.int64)
    logits = np.zeros((10, 2), np.float32)
    right = round(10 * accuracy)
    logits[:right, 0], logits[right:, 1] = loss_of_right, 1.0
    return truefit.Evaluation.from_logits(logits, labels, classes=("a", "b"), split="validation")


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ([(0.5, 1), (0.7, 1), (0.6, 1)], 2),
        ([(0.7, 9), (0.8, 1)], 2),  # accuracy decides, whatever the loss
        ([(0.5, 1), (0.5, 2), (0.5, 1)], 2),  # equal accuracy: the lower loss
        ([(0.5, 2), (0.5, 2), (0.5, 2)], 1),  # all equal: the earlier
        ([(0.0, 1), (0.0, 1)], 1),
    ],
)
def test_best_epoch_has_the_highest_accuracy_then_the_lower_loss_then_is_the_earlier(offers, chosen):
    best, network = Best(), Linear()
    for epoch, (accuracy, sure) in enumerate(offers, start=1):
        with torch.no_grad():
            network.layer.bias.fill_(epoch)
        best.offer(epoch, judged(accuracy, sure), network)
    assert best.epoch == chosen
    # The weights of that time, not a reference to what trains on.
    assert best.weights["layer.bias"].tolist() == [chosen, chosen]


def test_model_holds_the_best_epochs_weights_and_last_the_last(tmp_path):
    network = Linear()
    after: list[dict[str, torch.Tensor]] = []
    keep = lambda event: after.append(weights(network)) if isinstance(event, EpochFinished) else None  # noqa: E731
    validation = opposite(points(50, 1))
    run = Trainer(network, replace(PLAIN, epochs=4), observers=[keep]).fit(points(), validation, out=tmp_path / "run")
    best = max(run.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))["epoch"]
    assert best < 4
    assert same(load_file(tmp_path / "run" / "model" / "weights.safetensors"), after[best - 1])
    assert same(load_file(tmp_path / "run" / "model" / "last" / "weights.safetensors"), after[3])
    assert same(weights(run.network), after[best - 1])
    assert not same(after[best - 1], after[3])


def test_without_validation_the_last_weights_are_kept_and_test_was_not_selected_on(tmp_path):
    run = Trainer(Linear(), PLAIN).fit(points(), test_set=points(20, 1), out=tmp_path / "run")
    assert all(record["validation_accuracy"] is None for record in run.history)
    assert (run.evaluation.weights, run.evaluation.selected_on) == ("last (epoch 3)", None)
    model = tmp_path / "run" / "model"
    assert same(load_file(model / "weights.safetensors"), load_file(model / "last" / "weights.safetensors"))


def test_with_neither_validation_nor_test_there_is_no_evaluation(tmp_path):
    run = Trainer(Linear(), PLAIN).fit(points(), out=tmp_path / "run")
    assert run.evaluation is None
    assert not (tmp_path / "run" / "evaluation.json").exists()
    assert truefit.load(tmp_path / "run", network=Linear()).evaluation is None


# A network and data of one's own


def test_own_network_is_named_for_information_and_must_be_supplied(tmp_path):
    network = Linear()
    run = Trainer(network, PLAIN).fit(points(), points(20, 1), out=tmp_path / "run")
    architecture = json.loads((tmp_path / "run" / "model" / "model.json").read_text())["architecture"]
    assert architecture["name"] is None
    assert architecture["class"].endswith("test_trainer.Linear")
    with pytest.raises(InputError) as caught:
        truefit.load(tmp_path / "run")
    assert "test_trainer.Linear" in str(caught.value)
    assert f"truefit.load({str(tmp_path / 'run')!r}, network=YourNetwork())" in str(caught.value)
    assert "--model package.module:callable" in str(caught.value)
    back = truefit.load(tmp_path / "run", network=Linear(seed=5))
    assert same(weights(back.network), weights(network))
    images = points(7, 3).tensors[0]
    assert np.array_equal(back.predict(images).probabilities, run.predict(images).probabilities)
    assert np.array_equal(truefit.evaluate(back.predictor, points(20, 1)).probabilities, run.evaluation.probabilities)


def test_evaluating_a_run_on_data_given_in_python_says_what_to_do_instead(tmp_path):
    run = Trainer(Linear(), PLAIN).fit(points(), points(20, 1), out=tmp_path / "run")
    from truefit.loading import evaluate_run

    with pytest.raises(InputError, match=r"truefit\.evaluate\(run\.predictor, dataset\)"):
        evaluate_run(run)


def test_tensors_keep_their_values_unless_augmentation_is_asked_for():
    seen = []

    class Watching(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(images.clone())
            return super().forward(images)

    data = points(32)
    Trainer(Watching(), replace(PLAIN, epochs=1)).fit(data)
    got = torch.cat(seen).flatten(1)
    assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, data.tensors[0].flatten(1).tolist()))


def test_network_is_trained_in_place_and_gets_its_modes_back():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2))
    network[1].eval()
    before = weights(network)
    Trainer(network, PLAIN).fit(points(), points(20, 1))
    assert [module.training for module in network] == [True, False, True]
    assert not same(before, weights(network))


def test_named_model_is_built_anew_for_each_fit_and_decided_by_the_seed():
    trainer = Trainer("convnet", replace(PLAIN, epochs=1), seed=3)
    torch.manual_seed(1)
    one = trainer.fit(pictures())
    torch.manual_seed(2)
    two = trainer.fit(pictures())
    assert one.network is not two.network
    assert same(weights(one.network), weights(two.network))
    other = Trainer("convnet", replace(PLAIN, epochs=1), seed=4).fit(pictures())
    assert not same(weights(one.network), weights(other.network))


def test_subset_of_a_data_set_that_names_its_classes():
    class Named(TensorDataset):
        classes = ("no", "yes")

    data = Named(*points(40).tensors)
    run = Trainer(Linear(), PLAIN).fit(Subset(data, range(30)), Subset(data, range(30, 40)))
    assert run.evaluation.classes == ("no", "yes")
    assert run.predict(data.tensors[0][:1])[0].predicted in ("no", "yes")


class Stream(IterableDataset):
    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __iter__(self):
        return iter(self.data)


def test_iterable_data_set_trains_in_its_own_order():
    seen = []

    class Watching(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(images.clone())
            return super().forward(images)

    data = points(35)
    run = Trainer(Watching(), replace(PLAIN, epochs=2)).fit(Stream(data), Stream(points(20, 1)))
    assert [len(batch) for batch in seen] == [16, 16, 3] * 2
    assert torch.equal(torch.cat(seen[:3]), data.tensors[0])
    assert [record["validation_n"] for record in run.history] == [20, 20]
    assert run.evaluation.n == 20
    assert run.history[1]["training_loss"] < run.history[0]["training_loss"]


class Random(Dataset):
    """Draws from every global generator for each sample, as augmentation of one's own does."""

    def __init__(self, n: int = 40) -> None:
        self.data = points(n)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        image, label = self.data[index]
        noise = torch.randn(image.shape) + random.random() + np.random.normal()  # noqa: NPY002
        return image + 0.1 * noise, np.int32(label)


def test_workers_make_no_difference():
    def trained(workers: int):
        network = Linear()
        run = Trainer(network, replace(PLAIN, epochs=2), workers=workers).fit(Random(), Random(11))
        return without_time(run.history), weights(network)

    (history, with_none), (also, with_two) = trained(0), trained(2)
    assert history == also
    assert same(with_none, with_two)


@pytest.mark.timeout(60)  # Without the mending it would wait for its workers for ever.
def test_workers_end_with_a_training_that_breaks_off():
    before = set(multiprocessing.active_children())

    def stop(event) -> None:
        if isinstance(event, StepFinished):
            raise ArithmeticError("enough")

    with pytest.raises(ArithmeticError) as caught:
        Trainer(Linear(), PLAIN, workers=2, observers=[stop]).fit(Random())
    # The traceback, and all that its frames hold, is still there.
    assert caught.tb is not None
    assert set(multiprocessing.active_children()) == before


# The recipe


def lrs(schedule: ScheduleConfig, epochs: int = 4, validation: TensorDataset | None = None) -> list[float]:
    run = Trainer(Linear(), replace(PLAIN, epochs=epochs, schedule=schedule)).fit(points(), validation)
    return [record["lr"] for record in run.history]


def test_step_schedule_falls_at_its_epochs():
    assert lrs(ScheduleConfig(name="step", warmup=0, step_epochs=2, gamma=0.5)) == [0.1, 0.1, 0.05, 0.05]


def test_reduce_on_plateau_lowers_the_rate_when_validation_gets_worse():
    schedule = ScheduleConfig(name="reduce-on-plateau", warmup=0, gamma=0.5, patience=0)
    worse = lrs(schedule, 4, opposite(points(50, 1)))
    # The first epoch sets the mark; each worse one halves the rate of the next.
    assert worse == [0.1, 0.1, 0.05, 0.025]
    patient = lrs(replace(schedule, patience=1), 4, opposite(points(50, 1)))
    assert patient == [0.1, 0.1, 0.1, 0.05]
    assert lrs(schedule, 3, points(50, 1)) == [0.1, 0.1, 0.1]


def test_one_cycle_and_cosine_end_near_their_final_rate():
    for name in ("one-cycle", "cosine"):
        rates = lrs(ScheduleConfig(name=name, warmup=0.25, final=0.0), 4)
        assert max(rates) <= 0.1
        assert rates[-1] < 0.04
    assert lrs(CONSTANT) == [0.1] * 4


def test_early_stopping_ends_after_epochs_without_a_better_one():
    recipe = replace(PLAIN, epochs=12, early_stopping=3)
    run = Trainer(Linear(), recipe).fit(points(), opposite(points(50, 1)))
    best = max(run.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))["epoch"]
    assert len(run.history) == best + 3 < 12
    assert run.evaluation.weights == f"best (epoch {best})"


ONE_STEP = replace(PLAIN, epochs=1, batch_size=64)


def test_label_smoothing_is_torchs():
    recipe = replace(ONE_STEP, loss=LossConfig(label_smoothing=0.3))
    (record,) = Trainer(Linear(), recipe).fit(points()).history
    assert record["training_loss"] == pytest.approx(first_loss(points(), Linear(), label_smoothing=0.3), rel=1e-6)
    assert record["training_loss"] != pytest.approx(first_loss(points(), Linear()), rel=1e-4)


def test_class_weights_are_torchs():
    recipe = replace(ONE_STEP, loss=LossConfig(class_weights=(1.0, 7.0)))
    (record,) = Trainer(Linear(), recipe).fit(points()).history
    expected = first_loss(points(), Linear(), weight=torch.tensor([1.0, 7.0]))
    assert record["training_loss"] == pytest.approx(expected, rel=1e-6)
    assert record["training_loss"] != pytest.approx(first_loss(points(), Linear()), rel=1e-4)


def test_balanced_class_weights_are_n_over_classes_times_count():
    images = pictures(30).subset([*range(0, 30, 3), 1, 4, 7, 10, 2])  # 10, 4 and 1 of the classes
    assert images.counts().tolist() == [10, 4, 1]

    def trained(class_weights) -> list[dict]:
        recipe = replace(PLAIN, epochs=1, loss=LossConfig(class_weights=class_weights))
        return without_time(Trainer("convnet", recipe).fit(images).history)

    assert trained("balanced") == trained((15 / 30, 15 / 12, 15 / 3))
    assert trained("balanced") != trained(None)


def test_accumulation_takes_the_same_step_in_parts():
    def trained(parts: int) -> dict[str, torch.Tensor]:
        network = Linear()
        Trainer(network, replace(PLAIN, accumulate=parts)).fit(points(59))
        return weights(network)

    whole, cut = trained(1), trained(4)
    assert not same(whole, weights(Linear()))
    for name in whole:
        torch.testing.assert_close(whole[name], cut[name], rtol=0, atol=1e-6)


def test_accumulation_runs_the_network_on_the_parts():
    sizes = []

    class Watching(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return super().forward(images)

    Trainer(Watching(), replace(PLAIN, epochs=1, accumulate=4)).fit(points(32))
    assert sizes == [4] * 8


def test_clip_norm_bounds_the_step():
    def moved(clip_norm: float | None) -> float:
        network = Linear()
        Trainer(network, replace(ONE_STEP, optimizer=replace(SGD, lr=1.0), clip_norm=clip_norm)).fit(points())
        before = weights(Linear())
        return float(sum(((v - before[n]) ** 2).sum() for n, v in network.state_dict().items()) ** 0.5)

    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(None) == moved(1e6)
    assert moved(None) > 0.02


def test_fastest_trains_in_bfloat16_and_measures_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: True)
    monkeypatch.setattr("truefit.fitting.setup.Setup.is_named", True)
    seen = set()

    class Watching(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out = super().forward(images)
            seen.add((self.training, out.dtype))
            return out

    run = Trainer(Watching(), replace(PLAIN, precision="fastest")).fit(points(), points(20, 1), out=tmp_path / "run")
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert run.config["settings"]["training_precision"] == "bfloat16"
    assert run.config["settings"]["precision"] == "float32"
    again = truefit.evaluate(truefit.load(tmp_path / "run", network=Linear()).predictor, points(20, 1))
    assert (again.correct, again.loss) == (run.evaluation.correct, run.evaluation.loss)


def test_fastest_trains_a_network_of_ones_own_in_float32(monkeypatch):
    """It may do what autocast does not expect, such as adding to a float32 buffer."""
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: True)

    class Adding(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out = super().forward(images)
            return torch.zeros(out.shape).index_add(0, torch.arange(len(out)), out)

    run = Trainer(Adding(), replace(PLAIN, precision="fastest")).fit(points(), points(20, 1))
    assert run.config["settings"]["training_precision"] == "float32"
    with pytest.raises(RuntimeError, match="BFloat16"):
        Trainer(Adding(), replace(PLAIN, precision="bfloat16")).fit(points(), points(20, 1))


def test_a_run_in_bfloat16_is_gone_on_with_where_there_are_no_units_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: True)
    small = ImageSet(
        split="train",
        classes=("a", "b"),
        labels=np.arange(48) % 2,
        pixels=np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8),
    )
    recipe = replace(find_recipe("quick"), batch_size=8)

    def fit(out, *observers, resume=False):
        trainer = Trainer("convnet", recipe, observers=list(observers))
        return trainer.fit(small, out=out, resume=resume, report=False, checkpoint_every="1steps")

    def stop(event):
        if isinstance(event, StepFinished) and event.step == 2:
            raise KeyboardInterrupt

    def same(one, other):
        pairs = zip(one.network.parameters(), other.network.parameters(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    whole = fit(tmp_path / "whole")
    assert whole.config["settings"]["training_precision"] == "bfloat16"
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", stop)
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: False)
    run = fit(tmp_path / "run", resume=True)
    assert run.config["settings"]["training_precision"] == "bfloat16"
    assert same(run, whole)
    assert not same(fit(None), whole)


def test_fastest_changes_nothing_without_units_where_there_is_no_convolution(monkeypatch):
    monkeypatch.setattr("truefit.fitting.setup.Setup.is_named", True)
    monkeypatch.setattr("truefit.precision.bfloat16_pays", lambda device: False)
    fast = Trainer(Linear(), replace(PLAIN, precision="fastest")).fit(points(), points(20, 1))
    plain = Trainer(Linear(), PLAIN).fit(points(), points(20, 1))
    assert fast.config["settings"]["training_precision"] == "float32-fast"
    assert all(torch.equal(a, b) for a, b in zip(fast.network.parameters(), plain.network.parameters(), strict=True))


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_in_float32(tmp_path):
    dtypes = set()

    class Watching(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out = super().forward(images)
            dtypes.add(out.dtype)
            return out

    network = Watching()
    run = Trainer(network, replace(PLAIN, precision="bfloat16")).fit(points(), points(20, 1), out=tmp_path / "run")
    assert dtypes == {torch.bfloat16}
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    assert run.config["settings"]["precision"] == "bfloat16"
    back = truefit.load(tmp_path / "run", network=Linear())
    again = truefit.evaluate(back.predictor, points(20, 1))
    assert (again.correct, again.loss) == (run.evaluation.correct, run.evaluation.loss)
    exact = Trainer(Linear(), PLAIN).fit(points(), points(20, 1))
    assert exact.evaluation.loss != run.evaluation.loss
    assert exact.evaluation.loss == pytest.approx(run.evaluation.loss, abs=0.02)


def test_flip_averaging_is_used_everywhere_and_named(tmp_path):
    network, validation = Linear(), points(20, 1)
    run = Trainer(network, replace(PLAIN, averaging="flip")).fit(points(), validation, out=tmp_path / "run")
    images = validation.tensors[0]
    with torch.no_grad():
        expected = ((network(images) + network(images.flip(3))) / 2).softmax(1).numpy()
        plain = network(images).softmax(1).numpy()
    assert not np.allclose(expected, plain, atol=1e-3)
    assert np.allclose(run.evaluation.probabilities, expected, atol=1e-6)
    assert np.allclose(run.predict(images).probabilities, expected, atol=1e-6)
    assert run.evaluation.averaging == "flip"
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["averaging"] == "flip"
    back = truefit.load(tmp_path / "run", network=Linear())
    assert np.allclose(back.predict(images).probabilities, expected, atol=1e-6)


# Observers, and what is given back


def test_observers_hear_of_everything_in_order_and_get_no_gradients():
    events = []
    Trainer(Linear(), replace(PLAIN, epochs=2), observers=[events.append]).fit(points(40), points(20, 1))
    order = [(type(e).__name__, getattr(e, "split", None)) for e in events if not isinstance(e, Progress)]
    epoch = [
        ("PassStarted", "train"),
        *[("StepFinished", None)] * 3,
        ("PassFinished", "train"),
        ("PassStarted", "validation"),
        ("PassFinished", "validation"),
        ("Measured", "validation"),
        ("EpochFinished", None),
    ]
    final = [("PassStarted", "validation"), ("PassFinished", "validation"), ("Measured", "validation")]
    assert order == [("FitStarted", None), *epoch, *epoch, *final]
    (started,) = [e for e in events if isinstance(e, FitStarted)]
    assert (started.epochs, started.training_samples, started.validation_samples) == (2, 40, 20)
    assert started.device.startswith("Running on the ")
    steps = [e for e in events if isinstance(e, StepFinished)]
    assert [(e.epoch, e.step, e.samples) for e in steps] == [
        (n, i, s) for n in (0, 1) for i, s in enumerate((16, 16, 8))
    ]
    tensors = [getattr(e, name) for e in events for name in e.__slots__ if torch.is_tensor(getattr(e, name))]
    assert tensors
    assert not any(tensor.requires_grad for tensor in tensors)
    for split in ("train", "validation"):
        *_, last = [e for e in events if isinstance(e, Progress) and e.split == split and e.epoch == 1]
        assert last.samples == {"train": 40, "validation": 20}[split]
        assert type(last.loss) is float
    finished = [e for e in events if isinstance(e, PassFinished)]
    assert len(finished) == 5
    assert [e.record["epoch"] for e in events if isinstance(e, EpochFinished)] == [1, 2]


def generators() -> tuple:
    state = np.random.get_state()  # noqa: NPY002
    return random.getstate(), state[0], state[1].tolist(), state[2:], torch.get_rng_state().tolist()


@pytest.mark.parametrize("fails", [False, True])
def test_generators_threads_and_settings_are_given_back(fails):
    def stop(event) -> None:
        if fails and isinstance(event, EpochFinished):
            raise RuntimeError("enough")

    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    torch.set_num_threads(2)
    before = generators(), torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    trainer = Trainer(WithDropout(), PLAIN, observers=[stop])
    if fails:
        with pytest.raises(RuntimeError, match="enough"):
            trainer.fit(Random(), Random(8))
    else:
        trainer.fit(Random(), Random(8))
    assert (generators(), torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == before


def test_error_of_an_observer_passes_through_and_complete_epochs_are_kept(tmp_path):
    def stop(event) -> None:
        if isinstance(event, StepFinished) and event.epoch == 2:
            raise KeyboardInterrupt

    network = Linear()
    with pytest.raises(KeyboardInterrupt):
        Trainer(network, PLAIN, observers=[stop]).fit(points(), points(20, 1), out=tmp_path / "run")
    back = truefit.load(tmp_path / "run", network=Linear())
    assert [record["epoch"] for record in back.history] == [1, 2]
    best = max(back.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))
    assert truefit.evaluate(back.predictor, points(20, 1)).loss == best["validation_loss"]


def test_interrupt_in_the_first_epoch_leaves_nothing(tmp_path):
    def stop(event) -> None:
        if isinstance(event, StepFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(Linear(), PLAIN, observers=[stop]).fit(points(), out=tmp_path / "deep" / "run")
    assert not (tmp_path / "deep" / "run").exists()


# Measuring


def test_evaluate_takes_the_network_as_it_is_and_changes_nothing():
    network, data = WithDropout(), points(30, 1)
    network.train()
    before = weights(network), generators()
    found = truefit.evaluate(network, data, split="holdout", batch_size=7)
    assert same(weights(network), before[0])
    assert generators() == before[1]
    assert network.training
    with torch.no_grad():
        logits = network.eval()(data.tensors[0])
    assert found.loss == pytest.approx(float(F.cross_entropy(logits.double(), data.tensors[1])), rel=1e-7)
    assert found.correct == int((logits.argmax(1) == data.tensors[1]).sum())
    assert (found.split, found.n, found.selected_on) == ("holdout", 30, None)


def test_trainer_evaluates_what_fit_left():
    trainer = Trainer(Linear(), PLAIN)
    with pytest.raises(InputError, match="call fit first"):
        trainer.evaluate(points())
    run = trainer.fit(points(), points(20, 1))
    assert trainer.evaluate(points(20, 1)).loss == run.evaluation.loss
    assert trainer.evaluate(points(9, 2), split="more").split == "more"


def test_run_is_measured_with_the_threads_that_it_was_trained_with(tmp_path):
    seen = []

    class Watching(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(images)

    torch.set_num_threads(2)
    Trainer(Watching(), PLAIN).fit(points(), points(20, 1), out=tmp_path / "run")
    torch.set_num_threads(1)
    back = truefit.load(tmp_path / "run", network=Watching())
    seen.clear()
    truefit.evaluate(back.predictor, points(20, 1))
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1


# Bad input through Python: InputError, and no folder


def refused(tmp_path: Path, trainer: Trainer, *sets, kind: type[InputError] = InputError, **more) -> str:
    with pytest.raises(kind) as caught:
        trainer.fit(*sets, out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(("label", "found"), [(2, "label 2"), (-1, "label -1"), (1000, "label 1000")])
def test_label_outside_the_classes(tmp_path, label, found):
    data = points()
    data.tensors[1][50] = label
    assert found in (message := refused(tmp_path, Trainer(Linear(), PLAIN), data))
    assert "0 to 1" in message
    assert "outside the model's classes" in message


def test_label_outside_the_classes_in_validation(tmp_path):
    data = points(20, 1)
    data.tensors[1][3] = 9
    assert "label 9" in refused(tmp_path, Trainer(Linear(), PLAIN), points(), data)


def test_labels_that_are_no_class_indices(tmp_path):
    data = TensorDataset(points().tensors[0], points().tensors[1].float())
    assert "labels must be class indices" in refused(tmp_path, Trainer(Linear(), PLAIN), data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_or_inf_in_a_training_image_names_the_sample(tmp_path, value):
    data = points()
    data.tensors[0][37, 1, 2, 3] = value
    network = Linear()
    message = refused(tmp_path, Trainer(network, PLAIN), data, kind=NonFiniteError)
    assert "NaN or inf in the images of samples 37" in message
    assert "epoch 1, step" in message
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_nan_in_a_validation_image_names_the_sample(tmp_path):
    data = points(20, 1)
    data.tensors[0][7] = float("nan")
    message = refused(tmp_path, Trainer(Linear(), PLAIN), points(), data)
    assert "samples 7 of validation" in message


def test_divergence_in_a_later_epoch_keeps_what_the_epochs_before_gave(tmp_path):
    class Rotting(TensorDataset):
        fetched = 0

        def __getitem__(self, index: int):
            self.fetched += 1
            image, label = super().__getitem__(index)
            return image * (float("nan") if self.fetched > 2 * len(self) + 8 else 1.0), label

    with pytest.raises(NonFiniteError) as caught:
        Trainer(Linear(), PLAIN).fit(Rotting(*points().tensors), points(20, 1), out=tmp_path / "run")
    assert (caught.value.epoch, caught.value.step) == (2, 0)
    assert len(caught.value.indices) == 16
    back = truefit.load(tmp_path / "run", network=Linear())
    assert len(back.history) == 2
    assert all(tensor.isfinite().all() for tensor in back.network.state_dict().values())


def test_weights_are_left_as_they_were_before_the_step_that_was_not_finite():
    snapshots = []
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2))
    data = points(64)
    data.tensors[0][11] = float("nan")
    keep = lambda event: snapshots.append(weights(network)) if isinstance(event, StepFinished) else None  # noqa: E731
    start = weights(network)
    with pytest.raises(NonFiniteError) as caught:
        Trainer(network, PLAIN, observers=[keep]).fit(data)
    step = caught.value.step
    assert 11 in caught.value.indices
    before = start if step == 0 else snapshots[step - 1]
    trained = {name: value for name, value in weights(network).items() if value.is_floating_point()}
    assert all(torch.equal(trained[name], before[name]) for name in trained)


@pytest.mark.parametrize("role", ["training", "validation", "test"])
def test_empty_data_set_is_named(tmp_path, role):
    empty = TensorDataset(torch.zeros(0, 3, 4, 4), torch.zeros(0, dtype=torch.int64))
    sets = {name: points() for name in ("training", "validation", "test")} | {role: empty}
    trainer = Trainer(Linear(), PLAIN)
    message = refused(tmp_path, trainer, sets["training"], sets["validation"], test_set=sets["test"])
    assert f"the {role} set is empty" in message


def test_network_with_another_number_of_outputs_than_classes(tmp_path):
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 24 * 24, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layer(images.flatten(1))

    message = refused(tmp_path, Trainer(Flat(), PLAIN), pictures())
    assert "5 outputs" in message
    assert "3, one for each class" in message


def test_output_of_a_wrong_shape(tmp_path):
    message = refused(tmp_path, Trainer(nn.Sequential(nn.Conv2d(3, 2, 1)), PLAIN), points())
    assert "(16, 2, 4, 4)" in message


@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 32, 32), (3, 20, 32), (3, 64, 64)])
def test_wrong_channels_or_size_for_the_network(tmp_path, shape):
    data = TensorDataset(torch.rand(20, *shape), torch.arange(20) % 10)
    message = refused(tmp_path, Trainer(truefit.ConvNet(), PLAIN), data)
    assert str((16, *shape)) in message
    assert "24 to 47" in message


def test_validation_with_the_classes_in_another_order(tmp_path):
    other = pictures(12, "validation", 1, classes=("b", "a", "c"))
    message = refused(tmp_path, Trainer(recipe=PLAIN), pictures(), other)
    assert "classes" in message


def test_what_is_no_data_set(tmp_path):
    trainer = Trainer(Linear(), PLAIN)
    assert "DataLoader" in refused(tmp_path, trainer, DataLoader(points()))
    assert "has no length" in refused(tmp_path, trainer, iter(points()))


def test_samples_that_are_no_image_and_label(tmp_path):
    class Odd(Dataset):
        def __init__(self, sample) -> None:
            self.sample = sample

        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int):
            return self.sample

    for sample, words in (
        ((torch.zeros(3, 4, 4),), "(image, label) pairs"),
        ((np.zeros((3, 4, 4)), 1), "images must be tensors"),
        ((torch.zeros(3, 4, 4), "cat"), "labels must be class indices"),
    ):
        try:
            message = refused(tmp_path, Trainer(Linear(), PLAIN), Odd(sample))
        except TypeError as error:
            pytest.fail(f"TypeError instead of InputError for {sample[1:]}: {error}")
        assert words in message


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Trainer("convnett"), 'did you mean "convnet"?'),
        (lambda: Trainer(recipe="standart"), 'did you mean "standard"?'),
        (lambda: Recipe(epochs=0), "epochs"),
        (lambda: Recipe(batch_size=0), "batch_size"),
    ],
)
def test_trainer_and_recipe_are_checked_when_made(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)


def test_named_model_needs_named_classes_and_the_right_size(tmp_path):
    assert "number of classes is not known" in refused(tmp_path, Trainer("convnet", PLAIN), points())
    small = pictures(12)
    small = replace(small, pixels=np.ascontiguousarray(small.pixels[:, :20, :20]), image_size=20)
    message = refused(tmp_path, Trainer("convnet", PLAIN), small)
    assert "20 x 20" in message
    assert "24 to 47" in message


def test_unavailable_device(tmp_path):
    assert 'device "abacus"' in refused(tmp_path, Trainer(Linear(), PLAIN, device="abacus"), points())


def test_what_needs_validation_or_known_labels(tmp_path):
    plateau = replace(PLAIN, schedule=ScheduleConfig(name="reduce-on-plateau"))
    assert "validation" in refused(tmp_path, Trainer(Linear(), plateau), points())
    assert "validation" in refused(tmp_path, Trainer(Linear(), replace(PLAIN, early_stopping=2)), points())
    balanced = replace(PLAIN, loss=LossConfig(class_weights="balanced"))
    assert "TensorDataset" in refused(tmp_path, Trainer(Linear(), balanced), points())


def test_class_weights_of_another_number_than_the_networks_outputs(tmp_path):
    three = replace(PLAIN, loss=LossConfig(class_weights=(1.0, 2.0, 3.0)))
    assert "class weights" in refused(tmp_path, Trainer(recipe=replace(three)), pictures(classes=("a", "b")))
    try:
        message = refused(tmp_path, Trainer(Linear(), three), points())
    except RuntimeError as error:
        pytest.fail(f"RuntimeError instead of InputError: {error}")
    assert "class weights" in message


def test_output_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        Trainer(Linear(), PLAIN).fit(points(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_fit_by_name_brings_its_own_splits(tmp_path):
    from PIL import Image

    for name, shade in (("dark", 30), ("light", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (24, 24), shade + number).save(tmp_path / "images" / name / f"{number}.png")
    run = Trainer(recipe=replace(PLAIN, epochs=1)).fit(tmp_path / "images")
    assert run.config["data"]["spec"] == str(tmp_path / "images")
    assert {name: part["n"] for name, part in run.config["data"]["splits"].items()} == {
        "train": 16,
        "validation": 2,
        "test": 2,
    }
    assert run.evaluation.split == "test"
