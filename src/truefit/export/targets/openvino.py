"""OpenVINO: an .xml with the graph and a .bin beside it with the weights, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from truefit.export.program import INPUT, OUTPUTS, Answer, Program
from truefit.extras import needs, reporting_nothing

SUFFIX = ".xml"
EXACT = True


def check() -> None:
    """InputError where the package is missing."""
    _openvino()


def runtime() -> str:
    """What runs the file."""
    return f"OpenVINO {_openvino().__version__.partition('-')[0]}"


def write(program: Program, path: Path) -> None:
    """The program as OpenVINO's intermediate representation, with its metadata."""
    ov = _openvino()
    with reporting_nothing():
        model = ov.convert_model(program.traced)
    model.inputs[0].tensor.set_names({INPUT})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.tensor.set_names({name})
    for name, text in program.metadata.items():
        model.set_rt_info(text, ["truefit", name])
    ov.save_model(model, path, compress_to_fp16=False)


def answer(path: Path, threads: int) -> Answer:
    """The file in OpenVINO, on the CPU, in float32: by itself it may take bfloat16 where the CPU has units for it."""
    ov = _openvino()
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = ov.Core().compile_model(path, "CPU", settings)

    def run(images: np.ndarray) -> np.ndarray:
        return np.array(compiled({INPUT: images})[OUTPUTS[0]])

    return run


def _openvino() -> Any:
    with reporting_nothing():
        return needs("openvino", "openvino")
