"""The service: /predict, /health, /metrics, and a page that explains them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import anyio
from fastapi import Depends, FastAPI, File, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

import truefit
from truefit.data.images import Pixels, TooManyPixels, UnreadableImage, read_pixels
from truefit.errors import InputError
from truefit.metrics.selective import find_guarantee
from truefit.predictor import Predictor
from truefit.serve.batcher import Batcher, Full
from truefit.serve.gate import Gate
from truefit.serve.limits import Limits
from truefit.serve.metrics import Metrics
from truefit.serve.page import page

PATHS = frozenset({"/", "/docs", "/openapi.json", "/predict", "/health", "/metrics"})


class Answer(BaseModel):
    """What `truefit predict --json` says of an image. answer, sure: where the service was started with --sure.

    labels: where an image may have any number of labels; `predicted` is then the most probable one, given or not.
    """

    predicted: str = Field(description="the most probable class")
    probability: float = Field(description="its probability, 0 to 1")
    probabilities: dict[str, float] = Field(description="that of each class")
    labels: list[str] | None = Field(default=None, description="the labels that the image is given")
    answer: str | None = Field(default=None, description='the class, or "not sure"')
    sure: bool | None = Field(default=None, description="whether the probability reaches the threshold")


class Health(BaseModel):
    """That the service works, and what it serves."""

    status: str
    run: str
    classes: list[str]
    weights: str
    version: str


class Refusal(BaseModel):
    """Why a request was not answered."""

    detail: str


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    words = {
        400: "the file is no image that can be read",
        401: "the key is missing or wrong",
        408: "the request came in too slowly",
        413: "too many bytes or pixels",
        422: "the form holds no image",
        429: "too many images are waiting",
        504: "the answer took too long",
    }
    return {status: {"model": Refusal, "description": words[status]} for status in statuses}


def make_app(
    predictor: Predictor,
    *,
    name: str,
    limits: Limits | None = None,
    key: str | None = None,
    sure: float | None = None,
) -> FastAPI:
    """The service over a predictor, to be run by any ASGI server.

    name: what to call the run. key: what clients must send as `Authorization: Bearer KEY`. sure: a wanted accuracy:
    each answer is "not sure" below the threshold that calibration stored.
    Raises InputError for a network that was trained on tensors, and where there is no threshold for `sure`.
    """
    config = predictor.config
    if config.images == "tensors":
        raise InputError(
            "this run can't be served: its network was trained on a data set of tensors",
            where=name,
            found="images that only that data set can prepare",
            wanted="a run that was trained on image files",
        )
    if sure is not None:
        find_guarantee(config.sure, sure)
    limits = limits or Limits()
    metrics = Metrics()
    batcher = Batcher(predictor, limits, metrics, sure)
    decoders = anyio.CapacityLimiter(os.cpu_count() or 1)

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await anyio.to_thread.run_sync(batcher.stop)

    about = f"Classifies images with the run {name}. Made by truefit {truefit.__version__}."
    app = FastAPI(
        title="truefit serve",
        version=truefit.__version__,
        description=about,
        lifespan=working,
        # FastAPI's own pages fetch their script from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.metrics = metrics
    app.add_middleware(Gate, limits=limits, metrics=metrics, key=key, paths=PATHS)
    # The gate has looked at the key by then; this is for the description.
    guarded = [Depends(HTTPBearer(auto_error=False))] if key is not None else []
    unauthorised = (401,) if key is not None else ()

    @app.exception_handler(RequestValidationError)
    async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        wanted = 'a form (multipart/form-data) with a file in the field "image"'
        return JSONResponse({"detail": f"{wanted} is wanted: {error.errors()[0]['msg']}"}, 422)

    @app.post(
        "/predict",
        summary="Classify an image",
        responses=_refusals(400, 408, 413, 422, 429, 504, *unauthorised),
        response_model_exclude_none=True,
        dependencies=guarded,
    )
    async def predict(image: Annotated[UploadFile, File(description="JPEG, PNG, WebP, BMP or GIF")]) -> Answer:
        content = await image.read()
        try:
            work = partial(_prepare, predictor, content, limits.max_pixels)
            pixels = await anyio.to_thread.run_sync(work, limiter=decoders)
            prediction = await asyncio.wrap_future(batcher.put(pixels))
        except TooManyPixels as error:
            raise HTTPException(413, f"the image is too large: {error}") from None
        except UnreadableImage as error:
            raise HTTPException(400, f"the image can't be read: {error}") from None
        except Full:
            raise HTTPException(429, f"{limits.queue} images are waiting already: try again later") from None
        return Answer(
            predicted=prediction.predicted,
            probability=prediction.probability,
            probabilities=prediction.probabilities,
            labels=None if prediction.labels is None else list(prediction.labels),
            answer=None if sure is None else prediction.answer,
            sure=prediction.sure,
        )

    @app.get("/health", summary="Whether the service works, and what it serves")
    async def health() -> Health:
        return Health(
            status="ok",
            run=name,
            classes=list(config.classes),
            weights=predictor.weights,
            version=truefit.__version__,
        )

    @app.get(
        "/metrics",
        summary="Counts for Prometheus",
        response_class=PlainTextResponse,
        responses=_refusals(*unauthorised),
        dependencies=guarded,
    )
    async def counts() -> PlainTextResponse:
        return PlainTextResponse(metrics.text(waiting=batcher.waiting), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        text, policy = page(app.openapi(), with_key=key is not None)
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    @app.get("/", include_in_schema=False)
    async def start() -> RedirectResponse:
        return RedirectResponse("docs")

    return app


def _prepare(predictor: Predictor, content: bytes, max_pixels: int) -> Pixels:
    """The image as the predictor takes it: small, so that what waits takes little memory."""
    config = predictor.config
    return read_pixels(content, config.image_size, config.resize, config.interpolation, max_pixels=max_pixels)[0]
