"""Transfer: the probe and how its strength is chosen, features that are kept, stages that thaw."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import truefit
from truefit import InputError, Recipe, Trainer, loop
from truefit.data.imageset import ImageSet
from truefit.events import Event, Note, StepFinished
from truefit.fitting import features
from truefit.fitting.freezing import Freezing
from truefit.models.head import head_of, stages_of
from truefit.models.lookup import build_model
from truefit.recipes.recipe import AugmentConfig, TransferConfig

PROBE = Recipe(
    name="probe",
    epochs=0,
    batch_size=16,
    averaging="none",
    transfer=TransferConfig(probe=True, strengths=(1.0, 10.0), folds=3),
)
ARCHIVE = Path(__file__).parents[2] / "shared" / "data" / "photos-ants-bees.tar.xz"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def images(split: str, each: int = 16, seed: int = 0, classes: int = 3, side: int = 12) -> ImageSet:
    """Noisy squares whose colour is the class."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    pixels = draw.normal(90, 50, (len(labels), side, side, 3))
    for row, label in enumerate(labels):
        pixels[row, ..., label] += 30
    names = tuple("abc"[:classes])
    return ImageSet(
        split=split, classes=names, labels=labels, pixels=pixels.clip(0, 255).astype(np.uint8), image_size=side
    )


def network(seed: int = 0, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def run_probe(out: Path | None = None, recipe: Recipe = PROBE, net: nn.Module | None = None, **sets: ImageSet):
    notes: list[str] = []
    trainer = Trainer(
        net or network(),
        recipe,
        device="cpu",
        observers=[lambda event: notes.append(event.text) if isinstance(event, Note) else None],
    )
    train, validation = sets.get("train", images("train")), sets.get("validation", images("validation", seed=1))
    run = trainer.fit(train, validation, test_set=sets.get("test"), out=out, report=False)
    return run, " ".join(notes)


def test_the_head_is_the_logistic_regression_of_the_features(tmp_path) -> None:
    net = network()
    run, _ = run_probe(tmp_path / "run", net=net)
    probe = json.loads((tmp_path / "run" / "model" / "model.json").read_text())["probe"]
    train = images("train")
    with torch.no_grad():
        prepared = run.predictor.config.pipeline(torch.from_numpy(train.pixels), None, None)
        rows = net[:4].eval()(prepared).double().numpy()
    rows -= rows.mean(axis=0)
    scaled = rows / np.sqrt((rows**2).sum(axis=1).mean())
    oracle = LogisticRegression(C=probe["strength"], max_iter=5000, tol=1e-8).fit(scaled, train.labels)
    found = run.predictor.predict([train[i][0] for i in range(len(train))]).probabilities
    np.testing.assert_allclose(found, oracle.predict_proba(scaled), atol=0.02)
    assert run.evaluation.accuracy > 0.6


def test_two_classes_give_the_same_odds_as_one_row_of_them() -> None:
    train = images("train", classes=2)
    net = network(classes=2)
    run, _ = run_probe(net=net, train=train, validation=images("validation", seed=1, classes=2))
    assert net[4].weight.shape == (2, 32)
    torch.testing.assert_close(net[4].weight[0], -net[4].weight[1])
    assert run.evaluation.accuracy > 0.7


def test_everything_is_chosen_within_train_and_the_other_split_is_looked_at_once(tmp_path) -> None:
    run, notes = run_probe(tmp_path / "run")
    assert "C = " in notes
    assert "3-fold cross-validation within train" in notes
    summary = run.ledger.summary()
    assert (summary["validation"].looks, summary["validation"].chose) == (1, ())
    assert summary["train"].chose == ("regularisation of the probe",)
    assert run.evaluation.selected_on is None
    assert run.evaluation.looks == 1
    probe = json.loads((tmp_path / "run" / "model" / "model.json").read_text())["probe"]
    best = min(probe["tried"], key=lambda one: one["loss"])
    assert probe["strength"] == best["strength"]
    assert all(one["n"] == 48 for one in probe["tried"])


def test_a_probe_is_kept_loaded_gone_on_with_and_replaced(tmp_path) -> None:
    out = tmp_path / "run"
    run, _ = run_probe(out)
    loaded = truefit.load(out, network=network(seed=9), device="cpu")
    assert loaded.history == []
    one = images("train")[0][0]
    np.testing.assert_array_equal(loaded.predictor.predict(one).probabilities, run.predictor.predict(one).probabilities)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    trainer = Trainer(network(), PROBE, device="cpu", observers=[lambda event: None])
    trainer.fit(images("train"), images("validation", seed=1), out=out, resume=True, report=False)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    trainer.fit(images("train"), images("validation", seed=2), out=out, overwrite=True, report=False)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["run"]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images are sent through the network for features, call by call."""
    calls: list[int] = []
    original = features._computed
    monkeypatch.setattr(
        features, "_computed", lambda setup, data, head: calls.append(len(data)) or original(setup, data, head)
    )
    return calls


def test_features_are_computed_once_for_each_image_and_network(monkeypatch, own_cache) -> None:
    calls = counted(monkeypatch)
    first, _ = run_probe()
    again, notes = run_probe()
    assert calls == [48]
    assert "48 from the cache" in notes
    assert torch.equal(first.predictor.network[4].weight, again.predictor.network[4].weight)
    changed = images("train")
    changed.pixels[5] = changed.pixels[5][::-1].copy()  # upside down: the same channel statistics
    run_probe(train=changed)
    assert calls == [48, 1]
    shuffled = images("train").subset(np.random.default_rng(0).permutation(48))
    run_probe(train=shuffled)
    assert calls == [48, 1]
    run_probe(net=network(seed=1))
    assert calls == [48, 1, 48]
    for file in (own_cache / "features").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    damaged, _ = run_probe()
    assert calls == [48, 1, 48, 48]
    assert torch.equal(first.predictor.network[4].weight, damaged.predictor.network[4].weight)


def test_a_cache_that_is_off_or_cannot_be_written_changes_no_figure(monkeypatch, tmp_path) -> None:
    calls = counted(monkeypatch)
    first, _ = run_probe()
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    off, _ = run_probe()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "file"))
    with pytest.warns(truefit.TruefitWarning, match="can't be"):
        barred, _ = run_probe()
    assert calls == [48, 48, 48]
    for run in (off, barred):
        assert torch.equal(first.predictor.network[4].weight, run.predictor.network[4].weight)


def test_random_weights_are_nothing_to_transfer() -> None:
    with pytest.raises(InputError, match="nothing to transfer"):
        Trainer("resnet18", "transfer", device="cpu").fit(images("train", side=32), images("validation", side=32))


def test_a_network_that_does_not_end_in_its_last_linear_layer_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(432, 8)), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x)).relu()

    with pytest.raises(InputError, match="not those of its last linear layer"):
        run_probe(net=Twice())
    with pytest.raises(InputError, match="does not end in a linear layer"):
        run_probe(net=nn.Sequential(nn.Conv2d(3, 3, 12), nn.Flatten()))


def test_a_class_with_one_image_can_not_be_cross_validated() -> None:
    train = images("train").subset([0, *range(16, 48)])
    with pytest.raises(InputError, match="at least two training images of each class"):
        run_probe(train=train)


def test_stages_end_in_the_head_and_hold_every_module_once() -> None:
    for name in ("resnet18", "mobilenet_v3_small", "timm:test_vit", "timm:test_efficientnet"):
        net = build_model(name, 5)
        stages = stages_of(net)
        parameters = [id(p) for stage in stages for module in stage for p in module.parameters()]
        assert len(parameters) == len(set(parameters))
        assert len(stages) >= 4
        head = head_of(net, 5)[1]
        assert head in [part for module in stages[-1] for part in module.modules()]


def test_frozen_stages_do_not_move_and_their_batchnorm_does_not_either() -> None:
    recipe = Recipe(
        name="stages", epochs=2, batch_size=16, augment=AugmentConfig(flip=False, shift=0.0),
        transfer=TransferConfig(probe=True, stages=1, rate_decay=0.1, strengths=(1.0,)),
    )  # fmt: skip
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    seen: list[tuple[bool, bool]] = []
    net[1][1].register_forward_pre_hook(lambda module, _: seen.append((module.training, net[0][1].training)))
    run_probe(recipe=recipe, net=net, validation=None)
    after = net.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {name for name in after if name.startswith(("1.", "4."))}
    trained = [first for first, second in seen if first or second]
    # In the second epoch of three steps the last stage but the head learns; the first stage never.
    assert len(trained) == 3
    assert not any(second for _, second in seen)
    assert all(p.requires_grad for p in net.parameters())


THAWED = Recipe(
    name="thawed",
    epochs=2,
    batch_size=4,
    augment=AugmentConfig(flip=False, shift=0.0),
    transfer=TransferConfig(probe=True, stages=1, strengths=(1.0,), folds=3),
)


def test_stages_that_are_frozen_by_design_alarm_no_monitor() -> None:
    run, notes = run_probe(recipe=THAWED)
    assert run.doctor is not None
    found = {one["code"]: one["outcome"] for one in run.doctor["findings"]}
    assert found["FIT901"] == "ok"
    assert "FIT901" not in notes


def broken_off(net: nn.Module, out: Path | None = None) -> None:
    """In the first epoch, where all but the head are frozen."""

    def stop(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == 4:
            raise ZeroDivisionError

    trainer = Trainer(net, THAWED, device="cpu", observers=[stop])
    with pytest.raises(ZeroDivisionError):
        trainer.fit(images("train"), images("validation", seed=1), out=out, report=False, checkpoint_every="1steps")


def test_a_training_that_breaks_off_leaves_nothing_frozen() -> None:
    net = network()
    broken_off(net)
    assert all(p.requires_grad for p in net.parameters())


def test_a_run_that_was_gone_on_with_tells_of_its_probe_too(tmp_path) -> None:
    run_probe(tmp_path / "whole", recipe=THAWED)
    broken_off(network(), tmp_path / "run")
    trainer = Trainer(network(), THAWED, device="cpu", observers=[lambda event: None])
    trainer.fit(images("train"), images("validation", seed=1), out=tmp_path / "run", report=False, resume=True)
    models = [json.loads((tmp_path / name / "model" / "model.json").read_text()) for name in ("whole", "run")]
    assert models[0]["probe"]["strength"] == 1.0
    assert models[0] == models[1]


def test_earlier_stages_learn_more_slowly_and_frozen_ones_of_the_users_stay_frozen() -> None:
    net = network()
    net[1][0].weight.requires_grad_(False)
    freezing = Freezing(net, TransferConfig(probe=True, stages=None, rate_decay=0.5), epochs=3)
    rates = freezing.rates()
    assert [rates[id(net[i][0].weight)] for i in (0, 1)] == [0.25, 0.5]
    assert rates[id(net[4].weight)] == 1
    assert [freezing.thawed(epoch) for epoch in range(3)] == [1, 2, 3]
    freezing.apply(2)
    assert not net[1][0].weight.requires_grad
    assert net[1][1].weight.requires_grad
    assert Freezing(net, TransferConfig(), epochs=3).rates() == {}


def test_the_loop_gives_frozen_modules_their_mode_back() -> None:
    net = network()
    with loop.mode(net, training=True, frozen=[net[0]]):
        assert not net[0][1].training
        assert net[1][1].training
    assert net[0][1].training


def test_photos_with_packaged_weights(tmp_path, photos) -> None:
    pytest.importorskip("timm")
    trainer = Trainer("timm:tf_efficientnet_lite0", "transfer", weights="pretrained", device="cpu")
    trainer.observers = [lambda event: None]
    run = trainer.fit(trainer.load_data(photos, image_size=64), out=tmp_path / "run")
    config = run.predictor.config
    assert (config.image_size, config.crop, config.mean) == (64, 0.875, (0.5, 0.5, 0.5))
    assert run.evaluation.split == "validation"
    assert run.evaluation.looks == 1
    assert "chosen by cross-validation within train" in (tmp_path / "run" / "report.html").read_text()
    loaded = truefit.load(tmp_path / "run", device="cpu")
    file = next((photos / "val" / "bees").iterdir())
    np.testing.assert_allclose(
        loaded.predictor.predict(file).probabilities, run.predictor.predict(file).probabilities, atol=1e-6
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A part of the ants and bees: 8 of each to train on, 4 of each in val."""
    if not ARCHIVE.is_file():
        pytest.skip(f"{ARCHIVE.name} is not in ../shared/data")
    with tarfile.open(ARCHIVE) as tar:
        names: dict[str, list[str]] = {}
        for name in sorted(tar.getnames()):
            if name.endswith(".jpg"):
                names.setdefault(str(Path(name).parent), []).append(name)
        wanted = [name for folder, own in names.items() for name in own[: 8 if "train" in folder else 4]]
        tar.extractall(tmp_path, members=[tar.getmember(name) for name in wanted], filter="data")
    return tmp_path / "photos-ants-bees"
