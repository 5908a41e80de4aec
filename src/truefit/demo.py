"""A page to try a run on: a picture in, the classes out. Made with gradio; nothing is fetched from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from PIL import Image

from truefit.data.images import UnreadableImage, read_image
from truefit.errors import InputError, TruefitError
from truefit.explain import check_explainable, explain
from truefit.extras import needs
from truefit.metrics.selective import find_guarantee
from truefit.predictor import Prediction, Predictor
from truefit.report.pictures import from_source
from truefit.runs.record import Record

EXAMPLES = 8
"""At most so many pictures of the data are offered."""
USUAL = 0.95
"""The accuracy that is wanted of answers where none is named: this, or the highest below that has a threshold."""
MAX_PIXELS = 40_000_000
MAX_BYTES = 20 * 2**20


def make_demo(
    predictor: Predictor, *, name: str, sure: float | None = None, examples: Sequence[str | Path] = ()
) -> FastAPI:
    """The page over a predictor, to be run by any ASGI server.

    name: what to call the run. sure: a wanted accuracy: the answer is "not sure" below the threshold that calibration
    stored; None takes 0.95 or the next lower one that has a threshold; where there is none every picture is answered.
    examples: picture files to offer.
    Raises InputError for a network that was trained on tensors, where there is no threshold for `sure`, and where
    gradio is missing.
    """
    if predictor.config.images == "tensors":
        raise InputError(
            "this run has no demo: its network was trained on a data set of tensors",
            where=name,
            found="images that only that data set can prepare",
            wanted="a run that was trained on image files",
        )
    sure = _threshold_for(predictor, sure)
    gradio: Any = needs("demo", "gradio")
    why_not = _why_no_map(predictor)

    def answer(place: str | None) -> tuple[str, dict[str, float] | None, Any]:
        if place is None:
            return "", None, None
        try:
            image = read_image(Path(place), max_pixels=MAX_PIXELS)
        except UnreadableImage as error:
            raise gradio.Error(f"the picture can't be read: {error}", print_exception=False) from None
        if why_not is not None:
            prediction: Prediction = predictor.predict(image, sure=sure)[0]
            return in_words(prediction, predictor, sure), prediction.probabilities, None
        found = explain(predictor, image, sure=sure)
        return in_words(found.prediction, predictor, sure), found.prediction.probabilities, found.overlay

    with gradio.Blocks(title=f"truefit demo: {name}", analytics_enabled=False) as page:
        gradio.Markdown(
            "# Try the classifier\nUpload, paste or photograph a picture. It stays on the machine that shows this page."
        )
        with gradio.Row():
            with gradio.Column():
                picture = gradio.Image(
                    label="Picture", type="filepath", sources=["upload", "clipboard", "webcam"], height=320
                )
            with gradio.Column():
                words = gradio.Textbox(label="Answer", interactive=False, lines=2)
                shares = gradio.Label(label="Probabilities", num_top_classes=5, show_heading=False)
                overlay = gradio.Image(
                    label="Where the network looked",
                    interactive=False,
                    # Without the one that would send it to somebody else.
                    buttons=["download", "fullscreen"],
                    visible=why_not is None,
                    height=320,
                )
        if examples:
            gradio.Examples([[str(path)] for path in examples], picture, label="From the data of the run")
        if why_not is not None:
            gradio.Markdown(f"No map of where the network looked: {why_not}.")
        # The file as it came, for the same answer as `predict`: gradio would decode it, and write it anew.
        picture.preprocess = lambda payload: None if payload is None else payload.path
        picture.change(answer, picture, [words, shares, overlay], api_name="predict", show_progress="minimal")
    # Only then does gradio look whether a file that it is asked about was uploaded: any path of this machine would do.
    page.has_launched = True
    fonts = ("system-ui", "sans-serif")
    app: FastAPI = gradio.mount_gradio_app(
        FastAPI(),
        page,
        path="/",
        theme=gradio.themes.Default(font=fonts, font_mono=("ui-monospace", "monospace")),
        footer_links=[],
        max_file_size=MAX_BYTES,
        ssr_mode=False,
    )
    return app


def in_words(prediction: Prediction, predictor: Predictor, sure: float | None) -> str:
    """The answer, and what is behind it, in two lines."""
    share = f"{100 * prediction.probability:.1f} %"
    if prediction.labels is not None:
        return f"{prediction.answer}\nmost probable: {prediction.predicted} ({share})"
    if sure is None:
        why = "calibration found no threshold" if predictor.config.sure else "the run is not calibrated"
        return f"{prediction.answer}\n{share}; never “not sure”, as {why}"
    threshold = find_guarantee(predictor.config.sure, sure).threshold
    assert threshold is not None
    wanted = f"sure from {100 * threshold:.1f} % on, to be right in {100 * sure:g} % of the answers"
    return f"{prediction.answer}\n{prediction.predicted} with {share}; {wanted}"


def example_files(record: Record, place: Path) -> list[Path]:
    """Pictures of what the run was measured on, one a class as far as they go: its files, else PNGs written to `place`.

    Empty where the data is no longer there, or would have to be downloaded.
    """
    evaluation = record.evaluation
    if evaluation is None or evaluation.multi_label:
        return []
    first: dict[int, int] = {}
    for row, label in enumerate(evaluation.label.tolist()):
        first.setdefault(label, row)
    rows = [first[label] for label in sorted(first)][:EXAMPLES]
    if evaluation.paths is not None:
        return [path for path in (Path(evaluation.paths[row]) for row in rows) if path.is_file()]
    try:
        images = from_source(record, evaluation.split)
    except TruefitError:
        return []
    if images is None or len(images) != evaluation.n:
        return []
    files = []
    for row, pixels in zip(rows, images.read(evaluation.index[rows]), strict=True):
        files.append(place / f"{evaluation.classes[evaluation.label[row]].replace(os.sep, '_')}.png")
        Image.fromarray(pixels).save(files[-1])
    return files


def _threshold_for(predictor: Predictor, sure: float | None) -> float | None:
    known = predictor.config.sure
    if sure is not None:
        find_guarantee(known, sure)
        return sure
    fixed = [promise.accuracy for promise in known if promise.threshold is not None]
    return max((accuracy for accuracy in fixed if accuracy <= USUAL), default=None)


def _why_no_map(predictor: Predictor) -> str | None:
    try:
        check_explainable(predictor)
    except InputError as error:
        return error.what
    return None
