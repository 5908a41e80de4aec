"""Where a figure comes from: versions, commit, hardware."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from truefit import dist


def provenance(device: torch.device) -> dict[str, Any]:
    """What a run was made with; the same for two equal runs on one machine."""
    return {
        "versions": {
            "truefit": version("truefit"),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy")},
        },
        "commit": _commit(),
        "hardware": _hardware(device),
    }


def _commit() -> str | None:
    """The commit of the project that one stands in, where it is one."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def cpu_name() -> str:
    """What the processor calls itself; its maker comes first."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return name


def _hardware(device: torch.device) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": platform.system(),
        "processes": dist.world(),
    }
