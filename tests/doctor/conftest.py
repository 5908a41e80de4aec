"""A watched script in this process: write it to a file, run it, and get the findings that speak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from truefit.doctor.script import Watched, run_script


@pytest.fixture
def watched(tmp_path: Path) -> Callable[..., Watched]:
    """Run a source text under observation: `watched(text)`, in full unless told otherwise."""

    def run(text: str, **options: Any) -> Watched:
        path = tmp_path / "script.py"
        path.write_text(text)
        with torch.random.fork_rng():
            return run_script(str(path), **{"full": True, **options})

    return run
