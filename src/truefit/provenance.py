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


def cpu_vendor() -> str:
    """Who made the processor: Intel, AMD, or what else it says; on Windows its name says it too."""
    told = _told_of_cpu("vendor_id") or platform.processor()
    return next((maker for maker in ("Intel", "AMD") if maker in told), told)


def _told_of_cpu(what: str) -> str | None:
    """What Linux says of the first processor."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(what)), None)
    return None


def _hardware(device: torch.device) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "cpu": _told_of_cpu("model name") or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": platform.system(),
        "processes": dist.world(),
    }
