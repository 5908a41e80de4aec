"""Files changed at random are read or refused; nothing else happens."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    """The script of benchmarks/ that does the same for five minutes."""
    place = Path(__file__).parents[2] / "benchmarks"
    sys.path.insert(0, str(place))
    try:
        specification = importlib.util.spec_from_file_location("fuzz_readers", place / "fuzz_readers.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(place))
    return module


def test_changed_files_are_read_or_refused_with_an_input_error(fuzzing: ModuleType) -> None:
    told = fuzzing.fuzz(12, seed=1)
    assert set(told) == set(fuzzing.FILES)
    assert all(counts.get("refused", 0) > 0 for counts in told.values())
