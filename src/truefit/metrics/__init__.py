"""Figures from predictions. To add one: a file here with `measure`; nothing else changes.

`measure(probabilities, labels, predicted)` takes probabilities (n, K) float64, labels and predicted (n,) int64, and
returns plain values for JSON; they stand in evaluation.json under the file's name.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import numpy as np


def _metrics() -> dict[str, ModuleType]:
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in sorted(modules.items()) if hasattr(module, "measure")}


def metric_names() -> list[str]:
    """The figures of this package."""
    return list(_metrics())


def measure_all(probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Every figure of this package, by name."""
    return {name: module.measure(probabilities, labels, predicted) for name, module in _metrics().items()}
