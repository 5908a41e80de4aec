"""A healthy loop over real architectures from random weights is never a FAIL; `benchmarks/doctor_models.py` has all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5"])
def test_model_of_torchvision_gets_no_fail(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from doctor_models import findings_of

    with torch.random.fork_rng():
        row = findings_of(name)
    assert row["broken"] == []
    assert "fail" not in row["alarms"].values(), row


def test_full_leaves_a_program_of_the_zoo_bit_equal():
    """A program alone, again, and watched, a process each; `benchmarks/doctor_full.py` takes all of them."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "doctor_full.py", "--only", "01", "--jobs", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=True,
    )
    counts = json.loads(done.stdout[done.stdout.index("\n{") :])["counts"]
    assert counts == {"bit_equal": 1, "different": 0, "not_repeatable": 0, "could_not_run": 0}, done.stdout
