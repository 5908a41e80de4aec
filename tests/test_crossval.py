"""Folds: what is held out, what is pooled, what an interruption leaves."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from truefit import Evaluation, ImageSet, InputError, Recipe, Trainer, cross_validate
from truefit.crossval import claim
from truefit.data.folds import assign, fold_of, groups_of, pool_of
from truefit.data.imageset import Data
from truefit.metrics.folds import folds_interval
from truefit.metrics.intervals import wilson

RECIPE = Recipe(epochs=1, batch_size=16)


def images(split: str, n: int, seed: int, paths: tuple[str, ...] | None = None) -> ImageSet:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pixels = (draw.integers(0, 100, (n, 24, 24, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    return ImageSet(split=split, classes=tuple("abc"), labels=labels, pixels=pixels, image_size=24, paths=paths)


@pytest.fixture
def data() -> Data:
    parts = [images(name, n, seed) for seed, (name, n) in enumerate({"train": 36, "validation": 9, "test": 9}.items())]
    return Data(name="x", spec="x", train=parts[0], validation=parts[1], test=parts[2], mirror=False)


def trainer() -> Trainer:
    return Trainer("convnet", RECIPE, device="cpu")


def test_folds_cut_every_sample_once_and_keep_proportions():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    number = assign(labels, 5, split_seed=0)
    counts = np.array([np.bincount(labels[number == fold]) for fold in range(5)])
    assert (counts == [10, 6, 4]).all()
    assert (assign(labels, 5, split_seed=0) == number).all()
    assert (assign(labels, 5, split_seed=1) != number).any()


def test_a_group_stays_in_one_fold():
    labels = np.tile([0, 1], 60)
    groups = [f"g{row // 6}" for row in range(120)]
    number = assign(labels, 4, split_seed=0, groups=groups)
    assert all(len({number[row] for row in range(120) if groups[row] == name}) == 1 for name in groups)
    assert len(set(number)) == 4


def test_groups_are_read_off_file_names():
    paths = tuple(f"/data/a/patient{row // 3}_{row}.png" for row in range(9))
    found = images("train", 9, 0, paths)
    assert groups_of(found, r"patient(\d+)_") == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
    with pytest.raises(InputError, match="do not match"):
        groups_of(found, "nothing")
    with pytest.raises(InputError, match="no regular expression"):
        groups_of(found, "(")


@pytest.mark.parametrize("folds", [1, 16])
def test_a_number_of_folds_that_does_not_fit_is_refused(folds):
    with pytest.raises(InputError, match="number of folds"):
        assign(np.tile([0, 1, 2], 15), folds, split_seed=0)


def test_the_test_split_is_in_no_fold_and_held_out_samples_are_nowhere_else(data):
    own = set(data.test.sample_digests().tolist())
    held = []
    for fold in (1, 2, 3):
        part = fold_of(data, fold, 3)
        sets = [set(one.sample_digests().tolist()) for one in (part.train, part.validation, part.test)]
        assert sum(map(len, sets)) == len(set.union(*sets)) == 45
        assert not own & set.union(*sets)
        held += part.test.sample_digests().tolist()
    assert sorted(held) == sorted(pool_of(data).sample_digests().tolist())


def test_pooled_figures_are_those_of_all_held_out_samples_in_their_order(data, tmp_path):
    result = cross_validate(trainer(), data, folds=3, out=tmp_path / "out")
    pooled = Evaluation.load(tmp_path / "out")
    assert (pooled.label == pool_of(data).labels).all()
    assert pooled.correct == sum(one.correct for one in result.folds)
    assert pooled.n == 45
    assert pooled.loss == pytest.approx(np.mean([one.loss for one in result.folds]))
    assert pooled.interval == folds_interval([one.correct for one in result.folds], [15] * 3)
    assert "out-of-fold, approximate interval" in str(pooled)
    assert "approximate" in json.loads((tmp_path / "out/evaluation.json").read_text())["interval_method"]
    assert len(json.loads((tmp_path / "out/folds.json").read_text())["table"]) == 3
    for fold in (1, 2, 3):
        here = Evaluation.load(tmp_path / f"out/fold-{fold}")
        held = np.flatnonzero(assign(pool_of(data).labels, 3, split_seed=0) == fold - 1)
        assert (pooled.predicted[held] == here.predicted).all()
        assert (pooled.probabilities[held] == here.probabilities).all()


def test_all_folds_have_the_same_batches_on_little_data(tmp_path):
    """Of 133 samples three folds leave 95 to train on and two 96, for which the recipe has other batches."""
    data = Data(name="x", spec="x", train=images("train", 133, 0), validation=None, test=None, mirror=False)
    recipe = replace(RECIPE, batch_size=64, least_steps=4)
    assert [recipe.for_samples(n).batch_size for n in (95, 96)] == [16, 24]
    mine = Trainer("convnet", recipe, device="cpu")
    cross_validate(mine, data, folds=5, out=tmp_path / "out")
    configs = [json.loads((tmp_path / f"out/fold-{fold}/config.json").read_text()) for fold in range(1, 6)]
    assert {config["data"]["splits"]["train"]["n"] for config in configs} == {95, 96}
    assert {config["recipe"]["batch_size"] for config in configs} == {16}
    assert json.loads((tmp_path / "out/folds.json").read_text())["plan"]["recipe"]["batch_size"] == 16
    assert mine.recipe == recipe


def test_the_same_call_again_keeps_complete_folds_and_trains_the_rest(data, tmp_path):
    class Stop(Exception):
        pass

    def stop_in_third(event):
        if "fold 3 of 3" in getattr(event, "text", ""):
            raise Stop

    one = trainer()
    one.observers = [stop_in_third]
    with pytest.raises(Stop):
        cross_validate(one, data, folds=3, out=tmp_path / "out")
    files = {path: path.read_bytes() for path in (tmp_path / "out/fold-1").rglob("*") if path.is_file()}
    assert not (tmp_path / "out/evaluation.json").exists()
    # A fold that broke off in the middle is done again.
    (tmp_path / "out/fold-2/evaluation.json").unlink()
    result = cross_validate(trainer(), data, folds=3, out=tmp_path / "out")
    assert {path: path.read_bytes() for path in files} == files
    whole = cross_validate(trainer(), data, folds=3)
    assert (whole.evaluation.probabilities == result.evaluation.probabilities).all()
    with pytest.raises(InputError, match="other folds"):
        cross_validate(trainer(), data, folds=4, out=tmp_path / "out")


def test_folds_of_other_settings_of_which_none_is_complete_may_be_removed(tmp_path):
    claim(tmp_path, {"folds": 2})
    with pytest.raises(InputError, match="or remove this folder: no fold is complete"):
        claim(tmp_path, {"folds": 3})
    (tmp_path / "fold-1").mkdir()
    (tmp_path / "fold-1/evaluation.json").touch()
    with pytest.raises(InputError, match=r"name another --out$"):
        claim(tmp_path, {"folds": 3})


def test_a_folder_with_anything_else_is_refused(data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        cross_validate(trainer(), data, folds=3, out=tmp_path / "out")


def test_interval_is_the_formula_and_never_narrower_than_wilson():
    correct, n = [40, 30, 45, 38, 41], [50] * 5
    share = np.array(correct) / 50
    half = 2.7764451051977987 * np.sqrt((1 / 5 + 1 / 4) * share.var(ddof=1))
    assert folds_interval(correct, n) == pytest.approx((share.mean() - half, min(1, share.mean() + half)))
    assert folds_interval([40] * 5, n) == wilson(200, 250)


def test_joined_validation_keeps_files(data):
    paths = tuple(f"/x/{row}" for row in range(36))
    train = replace(data.train, paths=paths)
    validation = replace(data.validation, paths=tuple(f"/y/{row}" for row in range(9)))
    pool = pool_of(replace(data, train=train, validation=validation))
    assert pool.paths == train.paths + validation.paths
    assert (pool.read([36]) == data.validation.read([0])).all()
