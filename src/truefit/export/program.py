"""What is exported: the whole path of inference as one module, from stored pixels to probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from truefit import loop
from truefit.config import to_plain
from truefit.predictor import Predictor

INPUT = "images"
OUTPUTS = ("logits", "probabilities")

Answer = Callable[[np.ndarray], np.ndarray]
"""Images (N, C, H, W) as the graph takes them -> logits (N, K) float32, in some runtime."""


class Graph(nn.Module):
    """Images (N, C, H, W) -> logits and probabilities, (N, K) float32 each.

    Inside: centre crop, normalisation, network, averaging over views, temperature. It runs the predictor's own code,
    so that there is no second version of it that could differ.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.prepare = predictor.pipeline
        self.module = predictor.module
        self.several = predictor.config.multi_label

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.module(self.prepare(images.permute(0, 2, 3, 1), None, None))
        return logits, logits.sigmoid() if self.several else logits.softmax(dim=1)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A graph traced for any batch size, with what its file must carry.

    traced: by torch.export. example: images (N, C, H, W) that it takes. metadata: plain text by name. threads: as
    many as the run was made with. calibration: images (n, C, H, W) from which int8 takes its ranges; they are read when
    it asks.
    """

    traced: torch.export.ExportedProgram
    example: np.ndarray
    metadata: dict[str, str]
    threads: int
    calibration: Callable[[], np.ndarray]


def trace(predictor: Predictor, example: Tensor, calibration: Callable[[], np.ndarray]) -> Program:
    """The predictor as a program. example: at least two images (N, C, H, W), uint8 or float, on the CPU."""
    graph = Graph(predictor)
    batch = {INPUT: {0: torch.export.Dim("batch", min=1)}}
    with loop.mode(graph, training=False), torch.no_grad():
        traced = torch.export.export(graph, (example,), dynamic_shapes=batch, strict=False)
    return Program(
        traced=traced,
        example=example.numpy(),
        metadata=describe(predictor, example),
        threads=predictor.settings.threads,
        calibration=calibration,
    )


def describe(predictor: Predictor, example: Tensor) -> dict[str, str]:
    """What a file says of itself: classes, what it takes and gives, and how pixels become that. JSON where nested."""
    config = predictor.config
    _, channels, height, width = example.shape
    dtype = str(example.dtype).removeprefix("torch.")
    values = "RGB, 0..255" if dtype == "uint8" else "as the training data set gave them"
    inside: dict[str, Any] = to_plain(config)
    for name in ("classes", "sure"):
        inside.pop(name)
    before = "the images as the training data set gave them"
    if config.images == "files":
        how = "the shorter side fits, the centre is kept" if config.resize == "crop" else "both sides are stretched"
        before = f"decode, turn upright, resize to {height} x {width} ({how}; {config.interpolation} of Pillow)"
    return {
        "truefit_version": version("truefit"),
        "classes": json.dumps(list(config.classes), ensure_ascii=False),
        "input": f"{INPUT}: {dtype} (N, {channels}, {height}, {width}), {values}",
        "outputs": "logits, probabilities: float32 (N, K); logits are divided by the temperature",
        "before": before,
        "preprocessing": json.dumps(inside),
        "weights": predictor.weights,
        "selected_on": predictor.selected_on or "",
    }
