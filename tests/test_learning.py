"""Learning curves: nested parts, the fitted law, and when it is not believed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from truefit import ImageSet, InputError, Recipe, Trainer, learning_curve, plot_learning_curve
from truefit.data.imageset import Data
from truefit.learning import judged, nested
from truefit.metrics.power_law import bootstrap, fit_power_law
from truefit.report.build import write_report
from truefit.runs.files import write_json
from truefit.runs.words import percent


def images(split: str, n: int, seed: int) -> ImageSet:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pixels = (draw.integers(0, 100, (n, 24, 24, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    return ImageSet(split=split, classes=tuple("abc"), labels=labels, pixels=pixels, image_size=24)


def hits(errors: list[float], n: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.uniform(size=(3, n)) >= error for error in errors]


def test_parts_are_nested_and_stratified():
    whole = images("train", 300, 0)
    parts = nested(whole, (0.1, 0.5, 1.0), seed=3)
    assert [part.counts().tolist() for part in parts] == [[10] * 3, [50] * 3, [100] * 3]
    digests = [set(part.sample_digests().tolist()) for part in parts]
    assert digests[0] < digests[1] < digests[2]
    assert nested(whole, (0.1,), seed=4)[0].fingerprint() != parts[0].fingerprint()


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.0, 0.2, 0.5), (0.1, 0.1, 1.0), (0.05, 0.3, 0.2)])
def test_a_power_law_is_found_again(floor, scale, exponent):
    n = np.array([600, 1000, 2000, 3000, 4000])
    error = floor + scale * (n / 4000) ** -exponent
    law = fit_power_law(n.tolist(), error, np.full(5, 0.01))
    assert [law.error(size) for size in n] == pytest.approx(error, abs=2e-3)
    assert law.error(8000) == pytest.approx(floor + scale * 2**-exponent, abs=3e-3)


def test_floor_and_scale_are_never_negative():
    for error in ([0.1, 0.2, 0.3, 0.4], [0.9, 0.4, 0.1, 0.0]):
        law = fit_power_law([1, 2, 3, 4], np.array(error), np.full(4, 0.1))
        assert law.floor >= 0
        assert law.scale >= 0


def test_bootstrap_draws_images_and_trainings():
    one = [np.repeat(np.array([[True], [False]]), 50, axis=1)]
    draws = bootstrap(one, 500, 0)
    assert set(np.round(draws[:, 0], 6)) == {0.0, 0.5, 1.0}
    draws = bootstrap([np.tile(np.arange(400) < 100, (2, 1))], 500, 0)
    assert draws.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 400), rel=0.15)


def test_a_clear_curve_gives_a_forecast_and_a_flat_one_none():
    sizes = [1200, 2500, 5000, 10000]
    clear = judged(sizes, [0.12, 0.25, 0.5, 1.0], hits([0.45, 0.36, 0.29, 0.235], 20000), classes=10)
    assert clear["trustworthy"], clear["reasons"]
    assert clear["sentence"].startswith("More data would help: about")
    low, high = clear["forecast"]["gain_interval"]
    assert low < clear["forecast"]["gain"] < high
    flat = judged(sizes, [0.12, 0.25, 0.5, 1.0], hits([0.3, 0.3, 0.3, 0.3], 500), classes=10)
    assert not flat["trustworthy"]
    assert "no gain beyond chance" in flat["sentence"]
    guessing = judged(sizes, [0.12, 0.25, 0.5, 1.0], hits([0.9, 0.9, 0.88, 0.3], 5000), classes=10)
    assert {"power law" in reason for reason in guessing["reasons"]} == {True}


def test_a_curve_is_measured_written_and_drawn(tmp_path):
    data = Data(
        name="x",
        spec="x",
        train=images("train", 60, 0),
        validation=images("validation", 30, 1),
        test=None,
        mirror=False,
    )
    trainer = Trainer("convnet", Recipe(epochs=1, batch_size=16), device="cpu")
    curve = learning_curve(trainer, data, shares=(0.2, 0.5, 1.0), seeds=2, out=tmp_path / "out")
    stored = json.loads((tmp_path / "out/learning_curve.json").read_text())
    assert {**curve, "schema": 1} == stored
    assert [point["n"] for point in curve["points"]] == [12, 30, 60]
    assert curve["label"] == "selected on validation"
    assert all(low <= p["accuracy"] <= high for p in curve["points"] for low, high in [p["interval"]])
    assert trainer.seed == 0
    figure = plot_learning_curve(curve)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert any("selected on validation" in text for text in labels)
    with pytest.raises(InputError, match="not empty"):
        learning_curve(trainer, data, out=tmp_path / "out")
    with pytest.raises(InputError, match="needs a validation split"):
        learning_curve(trainer, Data(name="x", spec="x", train=data.train, validation=None, test=None, mirror=False))


def test_the_report_of_a_curve_tells_its_sentence_its_points_and_the_band(tmp_path):
    sizes = [1200, 2500, 5000, 10000]
    curve = judged(sizes, [0.12, 0.25, 0.5, 1.0], hits([0.45, 0.36, 0.29, 0.235], 20000), classes=10)
    about = {"split": "validation", "label": "selected on validation", "n": 20000, "model": "convnet"}
    write_json(tmp_path / "learning_curve.json", {**about, "recipe": {"name": "standard"}, **curve})
    band = curve["curve_band"]
    assert band[0]["n"] == 1200
    assert band[-1]["n"] == pytest.approx(20000)
    assert band[-1]["accuracy"] == pytest.approx(curve["forecast"]["accuracy"])
    assert all(low <= place["accuracy"] <= high for place in band for low, high in [place["interval"]])
    page = write_report([tmp_path]).read_text()
    assert curve["sentence"] in page
    for point in curve["points"]:
        assert f"{point['n']:,}" in page
        assert percent(point["accuracy"]) in page
    # The band is an area of its own beside the points' whiskers.
    assert "95 % of its bootstrap draws" in page
    assert write_report([tmp_path], form="png").joinpath("accuracy.png").stat().st_size > 5000
    with pytest.raises(InputError, match="one model"):
        write_report([tmp_path], form="md")
    write_json(tmp_path / "learning_curve.json", {**about, "points": []})
    with pytest.raises(InputError, match="not whole"):
        write_report([tmp_path])
