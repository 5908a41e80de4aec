"""From a run to a file in its place: traced, written, proven, and only then put there."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from truefit.atomic import storage_errors, sync_folder
from truefit.config import require
from truefit.data.imageset import ImageSet
from truefit.errors import InputError, TruefitError
from truefit.export.parity import MAX_DROP, TOLERANCE, Parity, compare_answers
from truefit.export.program import trace
from truefit.export.targets import Target, find_target
from truefit.loading import labelled_images, own_images
from truefit.predictor import Predictor
from truefit.runs.files import write_json
from truefit.runs.folder import RunFolder
from truefit.runs.run import Run

# Int8 takes its ranges from so many training images, spread over all of them.
CALIBRATION_SAMPLES = 256


class ParityError(TruefitError):
    """The exported file does not give the run's answers; it was not kept. `parity`: what was found."""

    def __init__(self, parity: Parity) -> None:
        self.parity = parity
        super().__init__(
            f"the exported file does not pass the parity check with {parity.runtime}; it was not kept",
            found="; ".join(parity.failures),
            wanted="the run's own answers",
        )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that passed. path: the file. proof: the parity check, as JSON, beside it."""

    path: Path
    proof: Path
    parity: Parity


def export_run(
    run: Run,
    to: str = "onnx",
    *,
    out: str | Path | None = None,
    data: str | Path | ImageSet | None = None,
    split: str | None = None,
    tolerance: float = TOLERANCE,
    max_drop: float = MAX_DROP,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write a run as a file for another runtime: `truefit.export_run(run, "onnx")`.

    The file holds the whole path of inference after decoding and resizing: normalisation, crop, network, averaging,
    temperature, for any batch size; classes and preprocessing stand in its metadata. It is then asked, in its own
    runtime, about real images beside the run (in float32 on the CPU), and kept only where the answers agree.

    to: onnx, torch, int8, openvino. out: the file; by default RUN/export/model with the target's suffix. data: the
    images to compare on; by default the run's own validation split (without one test, without that train); a folder as
    for `evaluate`, or an ImageSet. split: of these. tolerance: in logits; see `Parity`. max_drop: how much accuracy
    int8 may lose, 0..1. overwrite: replace a file at `out`. on_progress: called with (images compared, images in all).

    Raises ParityError where the file fails, InputError for a missing package, an unknown target, data that can't be
    found, or a place that can't be written; TruefitError where the network can't be traced. Then nothing is left.
    """
    require(tolerance >= 0, "tolerance", tolerance, "at least 0")
    require(0 <= max_drop <= 1, "max_drop", max_drop, "a fraction from 0 to 1")
    target = find_target(to)
    if run.folder is None or not isinstance(run.predictor, Predictor):
        raise InputError("this run has no folder", fix="Trainer(...).fit(..., out=FOLDER)")
    path = _place(run.folder, to, target, out, overwrite)
    images = _images(run, data, split)
    predictor = _on_cpu(run.predictor)
    _, _, golden = RunFolder(run.folder).read_model()
    # Two at least: a batch of one would make the tracer take its size for fixed.
    example = golden["images"].repeat(2, 1, 1, 1)[:2]
    with _beside(path) as folder:
        made = folder / path.name
        with _quiet():
            try:
                program = trace(predictor, example, lambda: _calibration(run, images))
                target.write(program, made)
                answer = target.answer(made, predictor.settings.threads)
            except (TruefitError, OSError):
                raise
            except Exception as error:
                # Tracers and converters raise errors of every kind, with pages of text.
                reason = str(error).strip().splitlines() or [""]
                raise TruefitError(
                    f"the network can't be exported to {to}", found=f"{type(error).__name__}: {reason[0][:200]}"
                ) from error
        parity = compare_answers(
            predictor,
            answer,
            images,
            target=to,
            runtime=target.runtime(),
            exact=target.EXACT,
            tolerance=tolerance,
            max_drop=max_drop,
            size=sum(file.stat().st_size for file in folder.iterdir()),
            on_progress=on_progress,
        )
        _note(run.predictor, images, to)
        if parity.failures:
            raise ParityError(parity)
        proof = path.with_name(f"{path.name}.parity.json")
        write_json(folder / proof.name, parity.to_json())
        with storage_errors(path):
            # The file itself last: whatever stands at `path` has its proof, and is complete.
            path.unlink(missing_ok=True)
            for file in sorted(folder.iterdir(), key=lambda file: file == made):
                file.replace(path.with_name(file.name))
            sync_folder(path.parent)
    return Exported(path=path, proof=proof, parity=parity)


def _place(run: Path, to: str, target: Target, out: str | Path | None, overwrite: bool) -> Path:
    stem = "model" if target.SUFFIX != ".onnx" or to == "onnx" else f"model.{to}"
    path = run / "export" / f"{stem}{target.SUFFIX}" if out is None else Path(out)
    if path.suffix != target.SUFFIX:
        raise InputError(f"a file for {to} has another suffix", where=path, found=path.suffix, wanted=target.SUFFIX)
    if path.is_dir():
        raise InputError("the output file is a folder", where=path, fix="name another --out")
    if path.exists() and not overwrite:
        raise InputError("the output file exists", where=path, fix="name another --out, or say --overwrite")
    return path.absolute()


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder beside `path` for what is not proven yet; it goes, whatever happens, and what was made for it."""
    made = [place for place in path.parents if not place.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".truefit-export-", dir=path.parent))
    except OSError as error:
        _remove_empty(made)
        raise InputError(
            "the output file can't be written", where=path, found=error.strerror or error, fix="name another --out"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        _remove_empty(made)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not os.listdir(folder):  # noqa: PTH208
            folder.rmdir()


def _images(run: Run, data: str | Path | ImageSet | None, split: str | None) -> ImageSet:
    if isinstance(data, ImageSet):
        return data
    if data is not None:
        return labelled_images(run, data, split)
    splits = run.config["data"]["splits"]
    return own_images(run, split or next(name for name in ("validation", "test", "train") if name in splits))


def _calibration(run: Run, compared: ImageSet) -> np.ndarray:
    """Training images, never those that are compared: the ranges would fit them best."""
    images = own_images(run, "train")
    if images.fingerprint() == compared.fingerprint():
        raise InputError("int8 takes its ranges from the training images", fix="compare on another split, or --data")
    count = min(CALIBRATION_SAMPLES, len(images))
    rows = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    return np.ascontiguousarray(images.read(rows).transpose(0, 3, 1, 2))


def _on_cpu(predictor: Predictor) -> Predictor:
    """The same predictor in float32 on the CPU, where files are compared."""
    settings = replace(predictor.settings, device="cpu", precision="float32")
    network = predictor.network
    if predictor.settings.device != "cpu":
        network = copy.deepcopy(network).to("cpu", memory_format=settings.memory_format)  # type: ignore[call-overload]
    return Predictor(network, predictor.config, settings, weights=predictor.weights, selected_on=predictor.selected_on)


def _note(predictor: Predictor, images: ImageSet, to: str) -> None:
    """The figures are seen: a look, where the images are a split of the run's own."""
    fingerprint = images.fingerprint()
    own = predictor.own_splits.get(fingerprint)
    if own is not None:
        predictor.ledger.look(own, by=f"export to {to}", n=len(images), fingerprint=fingerprint)


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracers and converters warn about their own future; nothing of it is the reader's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
