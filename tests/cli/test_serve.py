"""truefit serve: limits, keys, batches, metrics; the answers of `predict`; and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fruit import COLOURS, draw
from hypothesis import HealthCheck, given, settings

import truefit
from truefit import InputError, load
from truefit.predictor import Predictor
from truefit.serve.app import make_app
from truefit.serve.limits import Limits

LOAD = Path(__file__).parents[2] / "benchmarks" / "serve_load.py"


@pytest.fixture(scope="session")
def predictor(trained) -> Any:
    return load(trained.folder, device="cpu").predictor


@asynccontextmanager
async def client_of(predictor: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service in this process."""
    app = make_app(predictor, name="fruit", **options)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client


def asked(predictor: Any, what: Callable[[httpx.AsyncClient], Any], **options: Any) -> Any:
    """What `what(client)` gives."""

    async def ask() -> Any:
        async with client_of(predictor, **options) as client:
            return await what(client)

    return asyncio.run(ask())


def form(path: Path) -> dict[str, Any]:
    return {"files": {"image": (path.name, path.read_bytes())}}


@pytest.fixture
def apple(tmp_path) -> Path:
    return draw(tmp_path / "apple.png", COLOURS["apple"], 1)


def test_load_of_good_and_bad_files_and_the_end_in_the_middle_of_it(trained):
    """The benchmark in small: it compares with `truefit predict`, and counts what SIGTERM left unanswered."""
    words = [sys.executable, LOAD, trained.folder, "--requests", "60", "--clients", "4", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    kinds = {outcome.split()[0] for outcome in result["outcomes"]}
    assert kinds == {"good", "broken", "huge", "wrong"}
    assert result["exit_code"] == 143
    end = result["sigterm"]
    assert end["faults"] == []
    assert 30 <= end["accepted"] == end["answered"] == end["received"]


def test_images_that_come_together_are_classified_together(predictor, apple):
    async def ask(client):
        answers = await asyncio.gather(*[client.post("/predict", **form(apple)) for _ in range(8)])
        return [answer.json() for answer in answers], (await client.get("/metrics")).text

    answers, text = asked(predictor, ask, limits=Limits(batch=8, wait=5000))
    alone = predictor.predict(apple)[0]
    for answer in answers:
        assert answer["predicted"] == alone.predicted
        assert answer["probabilities"] == pytest.approx(alone.probabilities, abs=1e-5)
        assert set(answer) == {"predicted", "probability", "probabilities"}
    # The wait would have been five seconds: the batch was full before.
    assert "truefit_batch_size_sum 8" in text
    assert "truefit_batch_size_count 1" in text
    assert 'truefit_requests_total{path="/predict",status="200"} 8' in text
    assert f'truefit_predictions_total{{answer="{alone.predicted}"}} 8' in text


def changed(predictor: Any, **config: Any) -> Predictor:
    return Predictor(predictor.network, replace(predictor.config, **config), predictor.settings)


def test_image_is_brought_to_size_as_predict_does_it(predictor, tmp_path):
    image = draw(tmp_path / "large.png", COLOURS["banana"], 3, side=67)
    nearest = changed(predictor, interpolation="nearest")
    answer = asked(nearest, lambda client: client.post("/predict", **form(image))).json()
    assert answer["probabilities"] == pytest.approx(nearest.predict(image)[0].probabilities, abs=1e-6)
    assert answer["probabilities"] != pytest.approx(predictor.predict(image)[0].probabilities, abs=1e-6)


def test_labels_are_told_where_an_image_may_have_several(predictor, apple):
    several = changed(predictor, thresholds=(1e-6, 1e-6, 1 - 1e-6))

    async def ask(client):
        return (await client.post("/predict", **form(apple))).json(), (await client.get("/metrics")).text

    answer, text = asked(several, ask)
    assert answer["labels"] == list(several.predict(apple)[0].labels) == ["apple", "banana"]
    assert 'truefit_predictions_total{answer="apple"} 1' in text
    assert 'truefit_predictions_total{answer="banana"} 1' in text


@pytest.mark.parametrize(
    ("limits", "status", "word"),
    [
        (Limits(max_bytes=500), 413, "500 bytes"),
        (Limits(max_pixels=575), 413, "575 pixels"),
        (Limits(timeout=0.05, wait=1000), 504, "0.05 s"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_with_the_limit(predictor, apple, limits, status, word):
    answer = asked(predictor, lambda client: client.post("/predict", **form(apple)), limits=limits)
    assert answer.status_code == status
    assert word in answer.json()["detail"]


def test_more_images_than_may_wait_are_refused_and_the_others_answered(predictor, apple):
    goes_on = threading.Event()
    hook = predictor.network.register_forward_pre_hook(lambda *_: goes_on.wait(20) and None)

    async def ask(client):
        asks = [asyncio.create_task(client.post("/predict", **form(apple))) for _ in range(12)]
        # One is being classified, one waits: the others have their answers before these two.
        while sum(task.done() for task in asks) < 10:
            await asyncio.sleep(0.01)
        goes_on.set()
        return await asyncio.gather(*asks)

    try:
        answers = asked(predictor, ask, limits=Limits(queue=1, batch=1, wait=0, timeout=10))
    finally:
        goes_on.set()
        hook.remove()
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(429) >= 10


def test_a_slow_sender_is_told_so(predictor):
    async def slowly() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.sleep(5)
        yield b"--x--\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    ask = lambda client: client.post("/predict", content=slowly(), headers=kind)  # noqa: E731
    answer = asked(predictor, ask, limits=Limits(timeout=0.1))
    assert answer.status_code == 408


def test_key_guards_what_tells_about_images(predictor, apple):
    async def ask(client):
        right, wrong = {"Authorization": "Bearer s3cret"}, {"Authorization": b"Bearer s\xffcret"}
        return [
            (await client.get("/health")).status_code,
            (await client.get("/docs")).status_code,
            (await client.get("/metrics")).status_code,
            (await client.post("/predict", **form(apple))).status_code,
            (await client.post("/predict", **form(apple), headers=wrong)).status_code,
            (await client.post("/predict", **form(apple), headers=right)).status_code,
            (await client.get("/metrics", headers=right)).status_code,
        ]

    assert asked(predictor, ask, key="s3cret") == [200, 200, 401, 401, 401, 200, 200]


def test_not_sure_where_it_was_asked_for(predictor, trained, apple, tmp_path):
    with pytest.raises(InputError, match="calibrat"):
        make_app(predictor, name="fruit", sure=0.95)
    from dataclasses import replace

    from truefit.metrics.selective import Guarantee
    from truefit.predictor import Predictor

    never = Guarantee(accuracy=0.95, threshold=1.0, n=10, bound=0.96)
    careful = Predictor(predictor.network, replace(predictor.config, sure=(never,)), predictor.settings)
    answer = asked(careful, lambda client: client.post("/predict", **form(apple)), sure=0.95).json()
    assert answer["answer"] == "not sure"
    assert answer["sure"] is False
    assert answer["predicted"] in COLOURS


def test_health_and_page_tell_what_is_served_and_fetch_nothing(predictor):
    async def ask(client):
        return (
            (await client.get("/health")).json(),
            await client.get("/docs"),
            (await client.get("/openapi.json")).json(),
        )

    health, page, api = asked(predictor, ask)
    assert health["classes"] == list(COLOURS)
    assert health["version"] == truefit.__version__
    assert set(api["paths"]) == {"/predict", "/health", "/metrics"}
    for word in ("POST /predict", "429", "Classify an image"):
        assert word in page.text
    assert "//" not in page.text.replace("//service", "")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.fixture(scope="module")
def address(predictor) -> Any:
    """The service at a port of its own, in a thread."""
    import uvicorn

    from truefit.serve.run import listen

    sock = listen("127.0.0.1", 0)
    app = make_app(predictor, name="fruit", limits=Limits(max_bytes=5000, timeout=20))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestWarning")
def test_schemathesis_finds_no_failure_of_the_server(address):
    import schemathesis

    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    seen: set[int] = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case):
            status = case.call(timeout=30).status_code
            seen.add(status)
            assert status < 500

        ask()
    assert seen >= {200, 400}


def test_command_says_what_can_not_be(invoke, trained, tmp_path):
    (tmp_path / "key").write_text("\n")
    for words, expected in (
        (["--port", "70000"], "70000"),
        (["--api-key-file", tmp_path / "key"], "empty"),
        (["--api-key-file", tmp_path / "nowhere"], "nowhere"),
        (["--sure", "0.9"], "calibrat"),
        (["--max-bytes", "0"], "max-bytes"),
        (["--hsot", "x"], "--host"),
    ):
        answer = invoke("serve", trained.folder, *words)
        assert answer.code == 2, answer.err
        assert expected in answer.err
        assert answer.out == ""


def test_network_of_tensors_can_not_be_served(predictor):
    from dataclasses import replace

    from truefit.predictor import Predictor

    tensors = Predictor(predictor.network, replace(predictor.config, images="tensors"), predictor.settings)
    with pytest.raises(InputError, match="data set of tensors"):
        make_app(tensors, name="mine")


def test_ctrl_c_ends_the_command_with_130_and_a_port_in_use_is_an_error(trained, invoke):
    words = [Path(sys.executable).with_name("truefit"), "serve", trained.folder, "--port"]
    process = subprocess.Popen([*words, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("serving run at http://127.0.0.1:")
    port = line.split("127.0.0.1:")[1].split()[0]
    second = invoke("serve", trained.folder, "--port", port)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "the service has ended: 0 requests accepted, 0 answered\n"
    assert second.code == 2
    assert f"127.0.0.1:{port}" in second.err
