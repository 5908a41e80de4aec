"""truefit compare, and truefit train --seeds: from runs to a verdict."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fruit import SMALL

from truefit import Evaluation


@pytest.fixture
def saved(tmp_path):
    """Two evaluations of 300 samples: B is right on 40 more."""
    labels = np.arange(300) % 3
    for name, wrong in (("a", 60), ("b", 20)):
        logits = np.eye(3, dtype=np.float32)[np.where(np.arange(300) < wrong, (labels + 1) % 3, labels)] + wrong / 1e4
        paths = tuple(f"/images/{i}.png" for i in range(300))
        made = Evaluation.from_logits(logits, labels, classes=("x", "y", "z"), split="test", paths=paths)
        made.save(tmp_path / name)
    return tmp_path


def test_verdict_is_a_sentence_and_ends_with_0(invoke, saved):
    answer = invoke("compare", saved / "a", saved / "b")
    assert answer.code == 0
    assert "B is better: +13.3 points [" in answer.out
    assert "A 0, B 40" in answer.out
    assert "these two models, not of the recipes" in answer.out
    again = invoke("compare", saved / "a", saved / "a")
    assert again.code == 0
    assert "not distinguishable" in again.out


def test_list_names_the_samples(invoke, saved):
    answer = invoke("compare", saved / "a", saved / "b", "--list")
    assert "only B is right: 20  z  /images/20.png" in answer.out
    assert answer.out.count("only B is right") == 40


def test_json_is_one_line(invoke, saved):
    answer = invoke("compare", saved / "a", saved / "b", "--json", "--list")
    (pair,) = answer.json["pairs"]
    assert (pair["better"], pair["only_a"], pair["only_b"], pair["speaks_of"]) == ("B", 0, 40, "these two models")
    assert pair["samples"]["only_b"][0] == {"index": 20, "class": "z", "path": "/images/20.png"}
    assert answer.err == ""


@pytest.mark.parametrize("words", [(), ("a",), ("a", "none"), ("a", "--against", "b", "a")])
def test_wrong_input_ends_with_2(invoke, saved, words):
    answer = invoke("compare", *(word if word.startswith("-") else saved / word for word in words))
    assert answer.code == 2
    assert "Traceback" not in answer.err


def test_seeds_are_trained_gone_on_with_and_compared(invoke, fruit, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    words = ("train", fruit, *SMALL, "--epochs", "1", "--quiet", "--json")
    answer = invoke(*words, "--seeds", "2", "--out", one)
    assert answer.code == 0, answer.err
    assert answer.json["seeds"] == [0, 1]
    assert sorted(path.name for path in one.iterdir()) == ["seed-0", "seed-1", "seeds.json", "seeds.svg"]
    more = invoke("train", fruit, *SMALL, "--epochs", "1", "--seeds", "3", "--out", one)
    assert more.out.count("complete already, kept") == 2
    assert "3 seeds: sd" in more.out
    refused = invoke(*words, "--seeds", "3", "--out", one, "--lr", "0.1")
    assert refused.code == 2
    assert "recipe.optimizer.lr" in refused.err
    assert invoke(*words, "--seeds", "2", "--seed", "7", "--out", two).json["seeds"] == [7, 8]
    whole = invoke("compare", one, two, "--json").json
    assert [len(side["evaluations"]) for side in whole["sides"]] == [3, 2]
    assert whole["pairs"][0]["speaks_of"] == "the two recipes"
    by_runs = invoke("compare", *sorted(one.glob("seed-*")), "--against", *sorted(two.glob("seed-*")), "--json").json
    assert by_runs["pairs"] == whole["pairs"]
    assert invoke("train", fruit, "--seeds", "0").code == 2
    assert json.loads((one / "seeds.json").read_text())["schema"] == 1
