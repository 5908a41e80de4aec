"""Several processes give what one gives: steps, losses, hits, evaluations."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import work
from together import together

from truefit.data.shares import share


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of 3 processes found: with 2, most shares would be even."""
    folder = tmp_path_factory.mktemp("work")
    together(3, work.__file__, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return work.everything()


def test_loss_curve_is_that_of_one_process_over_fifty_steps_with_a_short_last_batch(found, alone):
    wanted = alone["fifty_steps"]
    assert len(wanted["losses"]) == 50
    assert found[0]["fifty_steps"]["losses"] == pytest.approx(wanted["losses"], abs=1e-5)
    assert found[0]["fifty_steps"]["running"] == wanted["running"]


@pytest.mark.parametrize("part", ["fifty_steps", "in_parts", "mixed_and_balanced", "from_a_stream"])
def test_steps_are_those_of_one_process(found, alone, part):
    wanted, first = alone[part], found[0][part]
    assert first["losses"] == pytest.approx(wanted["losses"], abs=1e-5)
    assert first["training"] == pytest.approx(wanted["training"], abs=1e-5)
    assert first["running"] == wanted["running"]
    assert first["validation"] == wanted["validation"]
    for name, values in wanted["weights"].items():
        torch.testing.assert_close(torch.tensor(first["weights"][name]), torch.tensor(values), atol=1e-5, rtol=0)


def test_parameter_without_a_gradient_is_not_touched(found, alone):
    assert alone["with_an_unused_layer"]["unused"] == [[1.0, 1.0], [1.0, 1.0]]
    assert found[0]["with_an_unused_layer"] == alone["with_an_unused_layer"]


def test_statistics_are_the_mean_over_the_samples_not_over_the_processes(found, alone):
    for one in found:
        assert one["with_statistics"]["mean"] == pytest.approx(alone["with_statistics"]["mean"], rel=1e-6)


def test_all_processes_have_the_very_same_weights_and_statistics(found):
    for part in ("in_parts", "from_a_stream", "with_batchnorm"):
        assert all(one[part]["weights"] == found[0][part]["weights"] for one in found)
    statistics = found[0]["with_batchnorm"]["weights"]
    # A constant is exactly what it was; a counter counts steps, not processes.
    assert statistics["constant"] == torch.tensor([0.1, -float("inf")]).tolist()
    assert statistics["1.num_batches_tracked"] == 8


def test_length_that_fits_into_a_time_is_agreed_on(found, alone):
    for one in found:
        assert one["within_a_time"]["steps"] == alone["within_a_time"]["steps"] == 8
        assert one["within_a_time"]["training"] == pytest.approx(alone["within_a_time"]["training"], abs=1e-5)


def test_clock_that_ends_a_training_is_that_of_the_first_process(found):
    assert all(one["whose_clock"] == {"first": True, "others": False} for one in found)


def test_each_process_draws_numbers_of_its_own_for_the_network(found):
    drawn = [number for one in found for number in one["own"]]
    assert len(set(drawn)) == len(drawn) == 2 * len(found)


def test_each_sample_is_measured_once(found, alone):
    for one in found:
        assert one["measured"] == alone["measured"]
        assert one["few_measured"] == alone["few_measured"]
    assert alone["measured"]["n"] == 101


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5, 7, 64, 101])
def test_shares_are_the_batch_cut_up(samples, processes):
    parts = [range(samples)[share(samples, processes, rank)] for rank in range(processes)]
    assert [row for part in parts for row in part] == list(range(samples))
    sizes = [len(part) for part in parts if len(part)]
    assert max(sizes) - min(sizes) <= 1
    assert samples == 1 or min(sizes) > 1
