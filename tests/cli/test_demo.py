"""truefit demo: driven in a real browser, at the width of a screen and of a phone; its answers are those of predict."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fruit import COLOURS, draw

from truefit import load

TRUEFIT = Path(sys.executable).with_name("truefit")


def starting(run: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [TRUEFIT, "demo", run, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def address_of(process: subprocess.Popen[str]) -> str:
    """Where the demo is, once it is there."""
    line = process.stdout.readline()
    assert line.startswith("the demo of run is at http://127.0.0.1:"), process.communicate()
    return line.split(" is at ")[1].split()[0]


@pytest.fixture(scope="module")
def demo(trained) -> Iterator[str]:
    """Its address; in the end Ctrl-C."""
    process = starting(trained.folder)
    yield address_of(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "the demo has ended\n")


def opened(browser: Any, demo: str, width: int) -> tuple[Any, list[str]]:
    """The page, and every address that it asked for."""
    page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.goto(demo)
    return page, asked


def answer(page: Any, before: str = "") -> str:
    """The text of the answer, once it is another than before."""
    field = page.get_by_label("Answer")
    page.wait_for_function("([field, before]) => field.value !== before", arg=[field.element_handle(), before])
    return field.input_value()


@pytest.mark.parametrize("width", [1280, 390])
def test_photo_is_uploaded_and_its_class_seen(browser, demo, trained, tmp_path, width):
    photo = draw(tmp_path / "photo.jpg", COLOURS["cherry"], 7, side=67)
    prediction = load(trained.folder, device="cpu").predict(photo)[0]
    page, asked = opened(browser, demo, width)
    page.set_input_files("input[type=file]", photo)
    lines = answer(page).splitlines()
    assert lines[0] == prediction.predicted
    assert lines[1].startswith(f"{100 * prediction.probability:.1f} %; never “not sure”")
    shown = page.get_by_test_id("block-label").all_inner_texts()
    assert "Where the network looked" in " ".join(shown)
    overlay = page.locator("img[src*='/file=']").last
    overlay.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Nothing is fetched from elsewhere, and nothing went wrong.
    assert [url for url in asked if not url.startswith((demo, "data:", "blob:"))] == []
    page.context.close()


def test_example_of_the_data_is_classified(browser, demo):
    page, _ = opened(browser, demo, 1280)
    page.get_by_role("button").filter(has=page.locator("img")).first.click()
    assert answer(page).splitlines()[0] in COLOURS
    page.context.close()


def test_what_is_no_picture_is_refused_with_the_reason(browser, demo, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n none")
    page, _ = opened(browser, demo, 390)
    page.set_input_files("input[type=file]", tmp_path / "broken.png")
    page.get_by_text("the picture can't be read: ").first.wait_for()
    page.context.close()


def test_only_what_was_uploaded_is_looked_at(trained, tmp_path):
    import httpx

    picture = draw(tmp_path / "mine.png", (200, 30, 30), 1)
    with starting(trained.folder) as process, httpx.Client(base_url=address_of(process), timeout=60) as client:

        def asked(path: Path | str) -> str:
            given = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
            begun = client.post("/gradio_api/call/predict", json={"data": [given]}).json()
            return client.get(f"/gradio_api/call/predict/{begun['event_id']}").text

        try:
            # Who asks the service without the page could name any file of this machine.
            assert "event: error" in asked(picture)
            uploaded = client.post("/gradio_api/upload", files={"files": picture.read_bytes()}).json()
            assert "event: complete" in asked(uploaded[0])
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert process.returncode == 130


def test_not_sure_below_the_threshold_that_calibration_fixed(trained, tmp_path):
    from dataclasses import replace

    from truefit.demo import in_words
    from truefit.metrics.selective import Guarantee
    from truefit.predictor import Predictor

    predictor = load(trained.folder, device="cpu").predictor
    promise = Guarantee(accuracy=0.9, threshold=0.999, n=10, bound=0.91)
    careful = Predictor(predictor.network, replace(predictor.config, sure=(promise,)), predictor.settings)
    prediction = careful.predict(draw(tmp_path / "grey.png", (128, 128, 128), 1), sure=0.9)[0]
    first, second = in_words(prediction, careful, 0.9).splitlines()
    assert first == "not sure"
    assert f"{prediction.predicted} with {100 * prediction.probability:.1f} %; sure from 99.9 % on" in second


def test_command_says_what_can_not_be(invoke, trained):
    for words, expected in (
        (["--port", "70000"], "70000"),
        (["--sure", "0.9"], "calibrat"),
        (["--hsot", "x"], "--host"),
    ):
        answer = invoke("demo", trained.folder, *words)
        assert answer.code == 2, answer.err
        assert expected in answer.err
        assert answer.out == ""
