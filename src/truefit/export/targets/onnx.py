"""ONNX, run by ONNX Runtime. Weights and graph in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from truefit.export.program import INPUT, OUTPUTS, Answer, Program
from truefit.extras import needs

SUFFIX = ".onnx"
EXACT = True


def check() -> None:
    """InputError where a package is missing."""
    needs("onnx", "onnx", "onnxscript", "onnxruntime")


def runtime() -> str:
    """What runs the file."""
    return f"onnxruntime {needs('onnx', 'onnxruntime').__version__}"


def write(program: Program, path: Path) -> None:
    """The program as ONNX, with its metadata."""
    needs("onnx", "onnx").save(model_of(program), path)


def model_of(program: Program) -> Any:
    """The onnx.ModelProto, checked."""
    onnx = needs("onnx", "onnxscript", "onnx")
    made = torch.onnx.export(
        program.traced, dynamo=True, input_names=[INPUT], output_names=list(OUTPUTS), verbose=False
    )
    assert made is not None
    model = made.model_proto
    for value in (*model.graph.input, *model.graph.output):
        # The tracer's own name for the size of a batch says nothing to a reader.
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, program.metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def answer(path: Path, threads: int) -> Answer:
    """The file in ONNX Runtime, on the CPU."""
    ort = needs("onnx", "onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait by spinning would take the time of whatever is measured beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        logits: np.ndarray = session.run([OUTPUTS[0]], {INPUT: images})[0]
        return logits

    return run
