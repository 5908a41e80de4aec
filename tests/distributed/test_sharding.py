"""A network split between processes gives what a whole one gives: steps, evaluations, checkpoints, the saved model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import split
import torch
from safetensors.torch import load_file
from together import together

from helpers import image_set, tiny_network
from truefit import Recipe, Trainer, evaluate, load
from truefit.errors import InputError
from truefit.recipes.recipe import OptimizerConfig, SwaConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("split")
    together(2, split.__file__, folder)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"split-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return split.curves(shard=False)


@pytest.mark.parametrize("part", ["fifty_steps", "in_parts", "branched"])
def test_curve_and_weights_are_those_of_one_process(found, alone, part):
    wanted = alone[part]
    # The first process tells.
    assert found[0]["curves"][part]["losses"] == pytest.approx(wanted["losses"], abs=1e-5)
    for one in (of["curves"][part] for of in found):
        assert one["training"] == pytest.approx(wanted["training"], abs=1e-5)
        assert one["validation"] == wanted["validation"]
        assert one["running"] == wanted["running"]
        for name, weight in wanted["weights"].items():
            torch.testing.assert_close(torch.tensor(one["weights"][name]), torch.tensor(weight), atol=1e-5, rtol=0)


def test_each_process_has_its_part_and_no_more(found):
    for of in found:
        assert of["sizes"]["whole"] > 0
        assert of["sizes"]["weights"] <= 0.6 * of["sizes"]["whole"]
        assert of["sizes"]["state"] <= 0.6 * 2 * of["sizes"]["whole"] + 100


def test_going_on_is_bit_for_bit_the_training_that_was_not_interrupted(folder, found):
    for of in found:
        assert of["resumed"]["weights"] == of["undisturbed"]["weights"] == found[0]["undisturbed"]["weights"]
        assert (of["resumed"]["correct"], of["resumed"]["loss"]) == (
            of["undisturbed"]["correct"],
            of["undisturbed"]["loss"],
        )
    assert any("going on from epoch 2" in text for text in found[0]["resumed"]["said"])
    states = [folder / name / "model" / "last" / "weights.safetensors" for name in ("undisturbed", "stopped")]
    assert states[0].read_bytes() == states[1].read_bytes()


def test_saved_model_loads_in_one_process_and_measures_the_same(folder):
    run = load(folder / "undisturbed", network=tiny_network(batchnorm=True, dropout=0.3))
    assert run.config["hardware"]["sharded"] is True
    assert run.evaluation is not None and run.predictor is not None
    again = evaluate(run.predictor, image_set(300, seed=1))
    assert (again.n, again.correct, again.loss) == (300, run.evaluation.correct, run.evaluation.loss)


def test_state_of_two_processes_that_split_the_network_is_gone_on_with_in_one(folder, found):
    alone = split.into(folder / "for-one", resume=True, shard=False)
    assert any("1 processes instead of 2" in text for text in alone["said"])
    # Dropout draws other numbers from there on.
    assert alone["correct"] == pytest.approx(found[0]["undisturbed"]["correct"], abs=40)


def test_files_are_those_of_a_run_that_is_not_split(folder):
    weights = load_file(folder / "undisturbed" / "model" / "weights.safetensors")
    wanted = tiny_network(batchnorm=True, dropout=0.3).state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == {n: t.shape for n, t in wanted.items()}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"optimizer": OptimizerConfig(name="muon")}, "muon"),
        ({"precision": "float16"}, "float16"),
        ({"swa": SwaConfig(start=0.5)}, "swa"),
    ],
)
def test_what_needs_the_whole_network_is_refused(changes, name):
    with pytest.raises(InputError, match=name):
        Trainer(tiny_network(), Recipe(epochs=1, **changes), shard=True).fit(image_set(8), image_set(8))


def test_one_process_alone_has_nothing_to_split():
    network = tiny_network()
    run = Trainer(network, Recipe(epochs=1, batch_size=8), shard=True).fit(image_set(8), image_set(8))
    assert run.network is network and "sharded" not in run.config["hardware"]
