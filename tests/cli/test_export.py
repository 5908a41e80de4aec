"""truefit export: a file for another runtime, kept only where it gives the run's answers."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fruit import COLOURS, NO_AVERAGE, SIDE, SMALL
from PIL import Image
from torch import nn

import truefit
from truefit.export import program
from truefit.export.parity import Differing, Parity, _decided, _differing
from truefit.export.targets import target_names
from truefit.extras import REPORTS_NOTHING

FILES = {"onnx": "model.onnx", "torch": "model.pt2", "int8": "model.int8.onnx", "openvino": "model.xml"}


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the trained run: an export adds files and a look."""
    return Path(shutil.copytree(trained.folder, tmp_path / "run"))


def in_onnxruntime(path: Path, side: int = SIDE) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, str]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("images", "tensor(uint8)", ["batch", 3, side, side])
    ]
    return lambda x: session.run(["probabilities"], {"images": x})[0], session.get_modelmeta().custom_metadata_map


def in_torch(path: Path, side: int = SIDE) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, str]]:
    extra = {"metadata.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    return lambda x: module(torch.from_numpy(x))[1].detach().numpy(), json.loads(extra["metadata.json"])


def in_openvino(path: Path, side: int = SIDE) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, str]]:
    import openvino

    model = openvino.Core().read_model(path)
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = ("classes", "preprocessing", "before", "input")
    return lambda x: compiled({"images": x})["probabilities"], {
        name: model.get_rt_info(["truefit", name]).astype(str) for name in names
    }


RUNTIMES = {"onnx": in_onnxruntime, "int8": in_onnxruntime, "torch": in_torch, "openvino": in_openvino}


def test_the_program_of_the_docs_prepares_a_photo_as_the_run_does(invoke, run, tmp_path, monkeypatch):
    assert invoke("export", run, "--to", "onnx").code == 0
    page = (Path(__file__).parents[2] / "docs" / "en" / "export.md").read_text(encoding="utf-8")
    program = next(text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "onnxruntime" in text)
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs" / "digits")
    # Neither square nor upright, and of another size than the run's images.
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (9, 15, 3), dtype=np.uint8)).resize((75, 46))
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(tmp_path / "photo.png", exif=turned)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(compile(program, "export.md", "exec"), space)
    wanted = truefit.load(run).predict("photo.png")[0]
    assert space["probabilities"][0] == pytest.approx(list(wanted.probabilities.values()), abs=1e-4)


def test_every_target_is_tested():
    assert sorted(FILES) == sorted(RUNTIMES) == target_names()


@pytest.mark.parametrize("to", FILES)
def test_the_file_alone_gives_the_run_s_probabilities(invoke, run, fruit, to):
    # A temperature, which must be in the graph as well.
    assert invoke("calibrate", run, "--quiet").code == 0
    answer = invoke("export", run, "--to", to, "--json")
    assert answer.code == 0, answer.err
    parity = answer.json["parity"]
    assert (parity["n"], parity["split"], parity["passed"], parity["target"]) == (6, "validation", True, to)
    path = run / "export" / FILES[to]
    assert answer.json["file"] == str(path)
    assert parity["bytes"] >= path.stat().st_size > 0
    assert json.loads(path.with_name(f"{path.name}.parity.json").read_text())["n"] == 6
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]

    ask, metadata = RUNTIMES[to](path)
    assert json.loads(metadata["classes"]) == list(COLOURS)
    assert f"uint8 (N, 3, {SIDE}, {SIDE})" in metadata["input"]
    assert json.loads(metadata["preprocessing"])["image_size"] == SIDE
    files = sorted(fruit.rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]).transpose(0, 3, 1, 2)
    wanted = truefit.load(run).predict(files).probabilities
    assert json.loads(metadata["preprocessing"])["temperature"] != 1
    for size in (1, 5, 60):
        found = ask(np.ascontiguousarray(pixels[:size]))
        assert found == pytest.approx(wanted[:size], abs=0.15 if to == "int8" else 1e-5)
    if to == "int8":
        import onnx

        kinds = [node.op_type for node in onnx.load(path).graph.node]
        assert kinds.count("QuantizeLinear") >= 7
        assert path.stat().st_size < 500_000


def test_flip_averaging_and_crop_are_inside(invoke, fruit, tmp_path):
    words = (fruit, *SMALL, "--epochs", "1", "--averaging", "flip", "--image-size", "32", "--augment.crop", "0.75")
    assert invoke("train", *words, "--out", "run", "--quiet").code == 0
    answer = invoke("export", "run", "--to", "torch", "--json")
    assert answer.code == 0, answer.err
    config = truefit.load("run").predictor.config  # type: ignore[attr-defined]
    assert (config.averaging, config.crop, config.image_size) == ("flip", 0.75, 32)
    module = torch.export.load("run/export/model.pt2").module()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(module(image)[0].argmax(1), module(image.flip(3))[0].argmax(1))
    assert torch.allclose(module(image)[0], module(image.flip(3))[0], atol=1e-5)


def test_smaller_images_are_made_inside(invoke, fruit, tmp_path):
    """The filter that makes them smaller goes beyond the range of bytes; a runtime must not cut it off there."""
    words = (fruit, *SMALL, *NO_AVERAGE, "--image-size", "32", "--augment.shrink", "0.75", "--out", "run", "--quiet")
    assert invoke("train", *words).code == 0
    draw = np.random.default_rng(0)
    # Squares of black and white have the largest overshoot.
    coarse = draw.integers(0, 2, (9, 8, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2) * 255
    run = truefit.load("run")
    assert run.predictor.config.shrink == 0.75  # type: ignore[attr-defined]
    wanted = run.predict(coarse).probabilities
    pixels = np.ascontiguousarray(coarse.transpose(0, 3, 1, 2))
    for to in FILES:
        answer = invoke("export", "run", "--to", to, "--json")
        assert answer.code == 0, (to, answer.err)
        found = RUNTIMES[to](Path("run") / "export" / FILES[to], side=32)[0](pixels)
        assert found == pytest.approx(wanted, abs=0.15 if to == "int8" else 1e-5), to


@pytest.mark.parametrize("broken", ["std", "channels"])
def test_broken_preprocessing_is_caught_and_nothing_is_kept(invoke, run, monkeypatch, broken):
    (run / "export").mkdir()
    before = run / "export" / "model.pt2"
    before.write_bytes(b"the file of an earlier export")
    made = program.Graph.__init__

    def breaking(self: Any, predictor: Any) -> None:
        made(self, predictor)
        prepare = self.prepare
        if broken == "std":
            self.prepare = replace(prepare, std=tuple(1.01 * std for std in prepare.std))
        else:
            self.prepare = lambda images, rows, draw: prepare(images.flip(3), rows, draw)

    monkeypatch.setattr(program.Graph, "__init__", breaking)
    answer = invoke("export", run, "--to", "torch", "--overwrite", "--json")
    assert answer.code == 1
    assert "does not pass the parity check" in answer.err
    assert answer.json["file"] is None
    assert answer.json["parity"]["passed"] is False
    assert [p.name for p in (run / "export").iterdir()] == ["model.pt2"]
    assert before.read_bytes() == b"the file of an earlier export"


PASSING = Parity(
    target="onnx",
    runtime="x 1",
    exact=True,
    split="validation",
    n=1000,
    tolerance=1e-3,
    max_drop=0.01,
    largest_difference=1e-4,
    differing=(),
    correct=900,
    exported_correct=900,
    only_run=0,
    only_exported=0,
    latency_ms={"run": 1.0, "exported": 1.0},
    images_per_second={"run": 1.0, "exported": 1.0},
    bytes=1,
    threads=1,
)


def test_another_class_counts_only_beyond_the_tolerated_margin():
    close = Differing(index=3, path=None, run="a", exported="b", margin=5e-4)
    assert replace(PASSING, differing=(close,)).failures == []
    clear = replace(close, margin=2e-3)
    (failure,) = replace(PASSING, differing=(clear, close)).failures
    assert "another class for 1 of 1,000" in failure


@pytest.mark.parametrize("difference", [2e-3, float("nan"), float("inf")])
def test_logits_that_differ_or_are_not_finite_fail(difference):
    failing = replace(PASSING, largest_difference=difference)
    assert failing.failures
    json.dumps(failing.to_json(), allow_nan=False)


def test_int8_fails_only_beyond_the_drop_and_has_its_paired_interval():
    int8 = replace(PASSING, exact=False, largest_difference=0.5, only_run=20, only_exported=10, exported_correct=890)
    assert int8.failures == []
    assert int8.interval[0] < int8.change == -0.01 < int8.interval[1]
    assert "accuracy falls by 1.10 points" in replace(int8, only_run=21, exported_correct=889).failures[0]


def test_an_export_counts_a_look_at_the_images(run):
    loaded = truefit.load(run)
    before = loaded.ledger.looks("validation")
    truefit.export_run(loaded, "torch")
    assert loaded.ledger.looks("validation") == before + 1
    assert loaded.ledger.entries()[-1]["by"] == "export to torch"


@pytest.mark.parametrize(("to", "package", "extra"), [("onnx", "onnxruntime", "onnx"), ("openvino", "openvino", None)])
def test_a_missing_runtime_names_its_extra(invoke, run, monkeypatch, to, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    answer = invoke("export", run, "--to", to)
    assert answer.code == 2
    assert f"the package {package} is not installed" in answer.err
    assert f"pip install 'truefit[{extra or package}]'" in answer.err
    assert not (run / "export").exists()


def test_wrong_ways_to_ask_end_with_2_and_write_nothing(invoke, run, fruit, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "there.pt2").write_text("mine")
    before = sorted(p.name for p in tmp_path.iterdir())
    for words, says in [
        (("--to", "onx"), 'did you mean "onnx"?'),
        (("--to", "torch", "--out", tmp_path / "x.onnx"), "wanted: .pt2"),
        (("--to", "torch", "--out", tmp_path / "file" / "x.pt2"), "can't be written"),
        (("--to", "torch", "--out", tmp_path / "there.pt2"), "--overwrite"),
        (("--to", "torch", "--max-drop", "2"), "max_drop"),
        (("--to", "torch", "--split", "nope"), "this run has no nope split"),
        (("--to", "torch", "--data", tmp_path / "nowhere"), "nowhere"),
        (("--to", "int8", "--split", "train"), "--data"),
    ]:
        answer = invoke("export", run, *words)
        assert (answer.code, answer.out) == (2, ""), answer
        assert says in answer.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert not (run / "export").exists()


def test_a_damaged_run_is_an_error(invoke, run):
    weights = run / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    answer = invoke("export", run, "--to", "torch")
    assert answer.code == 2
    assert "weights.safetensors" in answer.err
    assert not (run / "export").exists()


class Undecided(nn.Module):
    """Asks its own activations what to do, which no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(images.mean((2, 3)))
        return logits if logits.sum().item() > 0 else -logits


def test_a_network_that_no_graph_can_hold_ends_with_1(invoke, fruit, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    name = "test_export:Undecided"
    assert invoke("train", fruit, *SMALL, "--epochs", "1", "--model", name, "--out", "own", "--quiet").code == 0
    answer = invoke("export", "own", "--to", "torch", "--model", name)
    assert answer.code == 1
    assert "the network can't be exported to torch" in answer.err
    assert not Path("own/export").exists()


def test_several_labels_are_compared_by_their_thresholds():
    images = truefit.ImageSet(
        split="validation",
        classes=("a", "b", "c"),
        labels=np.array([[1, 0, 1], [0, 0, 0]], np.int64),
        pixels=np.zeros((2, 8, 8, 3), np.uint8),
    )
    run = np.array([[2.0, -1.0, 0.5], [-1.0, -1.0, -1.0]], np.float32)
    exported = np.array([[2.0, -1.0, -0.5], [-1.0, -1.0, -1.0]], np.float32)
    thresholds = (0.5, 0.5, 0.5)
    (one,) = _differing(run, _decided(run, thresholds), _decided(exported, thresholds), images, thresholds)
    assert (one.index, one.run, one.exported, one.margin) == (0, "a, c", "a", pytest.approx(0.5))


def test_a_file_never_stands_there_without_its_proof(invoke, run):
    (run / "export" / "model.pt2.parity.json").mkdir(parents=True)
    answer = invoke("export", run, "--to", "torch", "--quiet")
    assert answer.code != 0 and "can't be written" in answer.err
    assert not (run / "export" / "model.pt2").exists()


def test_runtimes_are_told_to_report_nothing_to_their_makers(command, run, tmp_path, monkeypatch):
    """ONNX Runtime would write a device's number and what to send into the home folder, OpenVINO send at once."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("CI", raising=False)
    for name in REPORTS_NOTHING:
        monkeypatch.delenv(name, raising=False)
    for target in ("onnx", "openvino"):
        assert command("export", run, "--to", target, cwd=tmp_path).code == 0
    written = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in written if "onnxruntime" in str(path) or "openvino" in str(path).lower()], written
    assert not list(home.rglob("*intel*"))
