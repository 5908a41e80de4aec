"""Starts a program in several processes, by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TORCHRUN = Path(sys.executable).with_name("torchrun")


def together(processes: int, program: str, folder: Path) -> None:
    """Run `program folder` in so many processes on this machine, a thread each; what fails is shown."""
    done = subprocess.run(
        [TORCHRUN, "--standalone", "--nproc-per-node", str(processes), program, folder],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
