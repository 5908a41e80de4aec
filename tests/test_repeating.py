"""Training with several seeds: the same splits, a folder that can be gone on with, and what it says."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

import truefit
from helpers import image_set, tiny_network
from truefit import InputError, Trainer, TruefitError, compare, load_seeds
from truefit.errors import Interrupted
from truefit.events import Progress
from truefit.recipes.recipe import Recipe
from truefit.repeating import differences
from truefit.runs.seeds import SeedRuns

RECIPE = Recipe(epochs=1, batch_size=16)


def trainer(**more) -> Trainer:
    return Trainer(tiny_network(), more.pop("recipe", RECIPE), device="cpu", **more)


def fit(out, seeds=2, **more):
    """Tiny networks with fresh weights for each seed."""
    import torch

    def make():
        return tiny_network(int(torch.randint(1000, ())))

    sets = {"validation_set": image_set(20, seed=1), "test_set": image_set(40, seed=2), **more.pop("sets", {})}
    options = {name: more.pop(name) for name in ("overwrite", "report", "select_on") if name in more}
    made = trainer(**more)
    return made.fit_seeds(image_set(48), **sets, seeds=seeds, out=out, make_network=make, **options)


def test_each_seed_has_a_run_and_the_folder_says_what_they_say(tmp_path):
    found = fit(tmp_path / "out", 3)
    assert list(found.evaluations) == [0, 1, 2]
    said = json.loads((tmp_path / "out" / "seeds.json").read_text())
    accuracies = [truefit.Evaluation.load(tmp_path / "out" / f"seed-{seed}").accuracy for seed in range(3)]
    assert [row["accuracy"] for row in said["runs"]] == accuracies == found.accuracies
    assert said["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    assert said["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert (said["lowest"], said["highest"]) == (min(accuracies), max(accuracies))
    configs = [json.loads((tmp_path / "out" / f"seed-{seed}" / "config.json").read_text()) for seed in range(3)]
    assert [config.pop("seed") for config in configs] == [0, 1, 2]
    assert configs[0] == configs[1] == configs[2]
    assert "3 seeds: sd" in str(found)


def test_what_fit_is_told_holds_for_each_seed(tmp_path):
    found = fit(tmp_path / "test", select_on="test", report=False)
    assert "selected on test" in str(found)
    assert not list(tmp_path.glob("test/*/report.html"))
    assert "selected on test" not in str(fit(tmp_path / "usual"))
    assert len(list(tmp_path.glob("usual/*/report.html"))) == 2


def test_a_signal_during_the_last_evaluation_ends_before_the_next_seed(tmp_path):
    def interrupt(event):
        if isinstance(event, Progress) and event.split == "test" and not (tmp_path / "seed-1").exists():
            signal.raise_signal(signal.SIGINT)
            tell.clear()

    tell = [interrupt]
    with pytest.raises(Interrupted, match="SIGINT"):
        fit(tmp_path, 2, observers=[lambda event: [one(event) for one in tell]])
    assert [path.name for path in tmp_path.glob("seed-*")] == ["seed-0"]
    assert (tmp_path / "seed-0" / "evaluation.json").is_file()
    assert list(fit(tmp_path, 2).evaluations) == [0, 1]


def test_seed_gives_the_run_that_it_gives_alone(tmp_path):
    both, second = fit(None, [0, 5]), fit(None, [5])
    assert np.array_equal(both.evaluations[5].probabilities, second.evaluations[5].probabilities)
    assert not np.array_equal(both.evaluations[0].probabilities, second.evaluations[5].probabilities)


def test_same_call_again_trains_only_what_is_missing(tmp_path):
    fit(tmp_path, 2)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("seed-*/*.npz")}
    # A seed that broke off after its first epoch.
    (tmp_path / "seed-1" / "evaluation.json").unlink()
    notes: list[str] = []
    found = fit(tmp_path, 3, observers=[lambda event: notes.append(getattr(event, "text", ""))])
    assert list(found.evaluations) == [0, 1, 2]
    changed = [path.parent.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert changed == ["seed-1"]
    assert [note for note in notes if note] == [
        "seed 0: complete already, kept",
        "seed 1 (2 of 3)",
        f"no checkpoint in {tmp_path / 'seed-1'}: beginning at the start",
        "seed 2 (3 of 3)",
    ]
    # No seed is left out for its figure.
    assert list(fit(tmp_path, [1]).evaluations) == [0, 1, 2]


def test_other_settings_are_refused_with_their_differences(tmp_path):
    fit(tmp_path, 1)
    before = (tmp_path / "seeds.json").read_bytes()
    other = replace(RECIPE, epochs=2)
    with pytest.raises(InputError, match=r"recipe\.epochs: 1 before, 2 now"):
        fit(tmp_path, 2, recipe=other)
    assert (tmp_path / "seeds.json").read_bytes() == before
    assert not (tmp_path / "seed-1").exists()
    again = fit(tmp_path, 1, recipe=other, overwrite=True)
    assert again.evaluations[0].weights.startswith("best (epoch")
    assert len((tmp_path / "seed-0" / "history.jsonl").read_text().splitlines()) == 2


def test_bad_ways_of_asking_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="make_network"):
        trainer().fit_seeds(image_set(32), image_set(20), seeds=2)
    for seeds in (0, [], [1, 1], [-1]):
        with pytest.raises(InputError, match="no seeds"):
            fit(tmp_path / "a", seeds)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt"):
        fit(tmp_path, 1)
    with pytest.raises(InputError, match="nothing to measure the seeds by"):
        fit(tmp_path / "b", 1, sets={"validation_set": None, "test_set": None})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt"]


def test_folder_is_read_back_compared_and_plotted(tmp_path):
    made = fit(tmp_path / "one", 2)
    fit(tmp_path / "two", 2, recipe=replace(RECIPE, epochs=2))
    back = load_seeds(tmp_path / "one")
    assert back.to_json() == made.to_json()
    found = compare(tmp_path / "one", tmp_path / "two")
    assert [len(side.evaluations) for side in found.sides] == [2, 2]
    assert compare(made, load_seeds(tmp_path / "two")).to_json()["pairs"] == found.to_json()["pairs"]
    (axes,) = truefit.plot(back).axes
    assert axes.get_lines()[0].get_ydata().tolist() == back.accuracies
    with pytest.raises(TruefitError, match="load_seeds"):
        truefit.load(tmp_path / "one")


def test_changed_folder_is_an_input_error(tmp_path):
    fit(tmp_path, 2)
    said = json.loads((tmp_path / "seeds.json").read_text())
    for change, message in (
        ({"runs": [{**said["runs"][0], "correct": 0}]}, "not the one"),
        ({"runs": [{**said["runs"][0], "folder": "../elsewhere"}]}, "changed"),
        ({"runs": [{}]}, "incomplete"),
    ):
        (tmp_path / "seeds.json").write_text(json.dumps({**said, **change}))
        with pytest.raises(InputError, match=message):
            load_seeds(tmp_path)


def seeds_with(*wrong: int, n: int = 200) -> SeedRuns:
    evaluations = {}
    for seed, count in enumerate(wrong):
        labels = np.zeros(n, np.int64)
        logits = np.eye(2, dtype=np.float32)[(np.arange(n) < count).astype(int)]
        evaluations[seed] = truefit.Evaluation.from_logits(logits, labels, classes=("a", "b"), split="test")
    return SeedRuns(folder=None, evaluations=evaluations)


def test_interval_over_seeds_is_students():
    found = seeds_with(10, 30, 80)
    half = t.ppf(0.975, 2) * np.std(found.accuracies, ddof=1) / math.sqrt(3)
    assert found.interval == pytest.approx((found.mean - half, min(1, found.mean + half)))
    low, high = found.sampling_interval
    assert low < found.mean < high


def test_one_seed_has_no_spread_and_wilsons_interval():
    found = seeds_with(10)
    assert found.sd is found.interval is None
    assert found.sampling_interval == found.evaluations[0].interval
    assert found.to_json()["sampling_interval_method"].startswith("Wilson")


def test_differences_name_what_differs_and_ignore_where_it_ran():
    before = {"recipe": {"lr": 1, "name": "a"}, "seed": 0, "commit": "x", "hardware": {}}
    now = {"recipe": {"lr": 2, "name": "a"}, "seed": 1, "commit": "y", "hardware": None, "new": True}
    assert differences(before, now) == ["new: None before, True now", "recipe.lr: 1 before, 2 now"]
