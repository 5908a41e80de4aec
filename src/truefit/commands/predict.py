"""`truefit predict RUN IMAGE|FOLDER|GLOB|-...`: classify images."""

from __future__ import annotations

import csv
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from truefit.commands.arguments import parse

if TYPE_CHECKING:
    from truefit.predictor import Prediction, Predictions, Predictor

    # An image's result, and its most probable classes with their probabilities, the predicted one first.
    _Row = tuple[Prediction, list[tuple[str, float]]]

STDIN = "-"
# How files of images begin, other than BMP.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF87a", b"GIF89a")


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Classify images: a line each with file, class and probability. Files that can't be read are listed on stderr;
    the exit code is 1 where none can be."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A folder that truefit train wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
    """Image files, folders that are searched for them, patterns such as 'photos/**/*.jpg', or - to read from standard
    input: one image's bytes, or paths, a line each (or separated by NUL, as find -print0 writes them)."""
    top: int = 1
    """How many classes to name for each image, the most probable first."""
    model: str | None = None
    """package.module:callable that makes the network, where the run's is not one of truefit's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    threads: int | None = None
    """Threads that decode files; by default as many as help for files of this size."""
    sure: float | None = None
    """A wanted accuracy, such as 0.95: answer "not sure" below the threshold that calibration fixed for it."""
    explain: Path | None = None
    """Write a PNG for each image into this new folder: where the network looked, in colours (Grad-CAM)."""
    csv: bool = False
    """Print comma-separated values with a header instead of the table."""
    json: bool = False
    """Print one machine-readable line on stdout instead of the table."""
    quiet: bool = False
    """No progress bar."""


def main(arguments: Sequence[str]) -> int:
    """Parse, classify, print."""
    command = parse(PredictCommand, "predict", arguments)

    from truefit.commands.explained import Overlays
    from truefit.commands.output import one_line, print_json, promise_line
    from truefit.commands.supplied import supplied_network
    from truefit.config import require, to_plain
    from truefit.errors import InputError
    from truefit.loading import load
    from truefit.predictor import Predictor
    from truefit.progress import Bar

    require(command.top >= 1, "top", command.top, "at least 1")
    require(command.threads is None or command.threads >= 1, "threads", command.threads, "at least 1")
    if command.csv and command.json:
        raise InputError("--csv and --json are opposites", fix="leave one of them out")
    if not command.images:
        raise InputError("no image is named", fix="truefit predict RUN IMAGE_OR_FOLDER...")
    sources = _sources(command.images)
    run = load(command.run, network=supplied_network(command.model), device=command.device)
    assert isinstance(run.predictor, Predictor)
    predictor = run.predictor
    overlays = None if command.explain is None else Overlays(command.explain, predictor)
    top = min(command.top, len(predictor.config.classes))
    found: list[dict[str, Any]] = []
    put: Callable[[_Row], None]
    if command.json:
        put = lambda row: found.append(_plain(row))  # noqa: E731
    elif command.csv:
        put = _csv_printer(top, command.sure is not None or predictor.config.multi_label)
    else:
        put = _table_printer()
    bar = Bar()
    # Rows that run over the same terminal are progress enough.
    shown = not command.quiet and (command.json or not sys.stdout.isatty())
    if isinstance(sources, bytes):
        batches: Iterable[Predictions] = [_of_bytes(predictor, sources, command.sure)]
    else:
        batches = predictor.predict_files(
            sources, sure=command.sure, threads=command.threads, on_progress=bar.reading if shown else None
        )
    unreadable: dict[str, str] = {}
    guarantee, readable = None, 0
    try:
        for predictions in batches:
            unreadable |= predictions.unreadable
            guarantee, readable = predictions.guarantee, readable + len(predictions)
            for row in _rows(predictions, top):
                put(row)
                if overlays is not None:
                    place = overlays.write(sources if isinstance(sources, bytes) else str(row[0].path))
                    if command.json:
                        found[-1]["explanation"] = str(place)
    finally:
        bar.close()
    for path, reason in unreadable.items():
        print(f"unreadable: {one_line(path)}: {reason}", file=sys.stderr)
    if command.json:
        promise = {} if guarantee is None else {"guarantee": to_plain(guarantee)}
        print_json(
            {
                "run": str(command.run),
                "temperature": predictor.config.temperature,
                **promise,
                "predictions": found,
                "unreadable": unreadable,
            }
        )
    elif guarantee is not None:
        print(promise_line(guarantee), file=sys.stderr)
    return 0 if readable else 1


def _of_bytes(predictor: Predictor, content: bytes, sure: float | None) -> Predictions:
    """The image that standard input has; it is called "-"."""
    from truefit.data.images import UnreadableImage, read_image

    try:
        image = read_image(content)
    except UnreadableImage as error:
        return replace(predictor.predict([], sure=sure), unreadable={STDIN: str(error)})
    return predictor.predict(image, sure=sure)


def _sources(words: Sequence[str]) -> list[Path] | bytes:
    """The files meant, in their order; or an image's bytes."""
    from truefit.data.lookup import list_images
    from truefit.errors import InputError

    files: list[Path] = []
    for word in words:
        if word == STDIN:
            if sys.stdin is None:
                raise InputError(
                    "standard input is closed", where=STDIN, wanted="an image's bytes, or paths, a line each"
                )
            content = sys.stdin.buffer.read()
            if _is_image(content):
                if len(words) > 1:
                    raise InputError("standard input has an image, and other files are named", fix="one or the other")
                return content
            files += map(Path, _lines(content))
        elif not os.path.lexists(word) and glob.has_magic(word):
            files += [file for place in sorted(glob.glob(word, recursive=True)) for file in list_images(place)]  # noqa: PTH207
        else:
            files += list_images(word)
    if not files:
        raise InputError("no image is named", found=", ".join(words), wanted="at least one file")
    return files


def _lines(content: bytes) -> Iterator[str]:
    parts = content.split(b"\0") if b"\0" in content else content.splitlines()
    return (os.fsdecode(part) for part in parts if part)


def _is_image(content: bytes) -> bool:
    return (
        content.startswith(_BEGINNINGS)
        or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
        # Two letters alone could begin a path; the four reserved bytes of a BMP are zero.
        or (content[:2] == b"BM" and content[6:10] == bytes(4))
    )


def _rows(predictions: Predictions, top: int) -> Iterator[_Row]:
    import numpy as np

    ranked = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :top].tolist()
    for prediction, order in zip(predictions, ranked, strict=True):
        # The predicted class is that of the logits: between equal probabilities it comes first.
        order = [prediction.index, *(index for index in order if index != prediction.index)][:top]
        names = [predictions.classes[index] for index in order]
        yield prediction, [(name, prediction.probabilities[name]) for name in names]


def _table_printer() -> Callable[[_Row], None]:
    from truefit.commands.output import one_line

    def put(row: _Row) -> None:
        prediction, named = row
        answers = [(prediction.answer, prediction.probability), *named[1:]]
        cells = [cell for name, probability in answers for cell in (name, f"{probability:.3f}")]
        print(one_line(prediction.path or STDIN), *cells, sep="\t")

    return put


def _csv_printer(top: int, with_answer: bool) -> Callable[[_Row], None]:
    """A header, then a line each. What is in a name, such as the end of a line, is quoted as RFC 4180 has it.

    with_answer: a last column with what is said in the end, where that need not be the most probable class.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = ["path", "predicted", "probability"]
    for place in range(2, top + 1):
        header += [f"predicted_{place}", f"probability_{place}"]
    writer.writerow(header + ["answer"] * with_answer)

    def put(row: _Row) -> None:
        prediction, named = row
        cells = [cell for pair in named for cell in pair]
        writer.writerow([prediction.path or STDIN, *cells, *([prediction.answer] if with_answer else [])])

    return put


def _plain(row: _Row) -> dict[str, Any]:
    """A row for --json."""
    prediction, named = row
    return {
        "path": prediction.path or STDIN,
        "predicted": prediction.predicted,
        "probability": prediction.probability,
        "top": [{"class": name, "probability": value} for name, value in named],
        "probabilities": prediction.probabilities,
        **({} if prediction.labels is None else {"labels": list(prediction.labels)}),
        **({} if prediction.sure is None else {"answer": prediction.answer, "sure": prediction.sure}),
    }
