"""What every test shares."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

# One thread: networks here are tiny, and two threads that wait for each other on a busy machine take ten times as long.
torch.set_num_threads(1)
# Tests of the cache set a folder of their own; no other test writes to the user's.
os.environ["TRUEFIT_CACHE"] = "off"


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run of a test."""
    return np.random.default_rng(0)
