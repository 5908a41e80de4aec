"""Int8: ONNX with quantised convolutions and matrix products, run by ONNX Runtime.

Weights have a scale for each output channel; the ranges of activations are the smallest and largest values seen on
training images.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from truefit.export.program import INPUT, Program
from truefit.export.targets import onnx as onnx_target
from truefit.extras import needs

SUFFIX = ".onnx"
EXACT = False
BATCH = 32

check = onnx_target.check
runtime = onnx_target.runtime
answer = onnx_target.answer


def write(program: Program, path: Path) -> None:
    """The program as quantised ONNX, with its metadata."""
    onnx = needs("onnx", "onnxruntime.quantization", "onnx")
    quantization = needs("onnx", "onnxruntime.quantization")
    shape_inference = needs("onnx", "onnxruntime.quantization.shape_inference")
    images = program.calibration()

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """The calibration images, a batch at a time."""

        def __init__(self) -> None:
            self.batches = iter(np.split(images, range(BATCH, len(images), BATCH)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        onnx.save(onnx_target.model_of(program), plain)
        # BatchNorm goes into the convolutions, so that these are quantised as they are run.
        shape_inference.quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            path,
            Reader(),
            per_channel=True,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {**program.metadata, "calibration_images": str(len(images))})
    onnx.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser speaks through the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
