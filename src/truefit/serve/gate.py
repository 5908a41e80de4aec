"""What every request passes first: key, size of the body, time. And what is counted about each."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from truefit.serve.limits import Limits
from truefit.serve.metrics import NO_STATUS, Metrics

OPEN = ("/", "/docs", "/openapi.json", "/health")
"""Paths that need no key: they tell nothing about images."""
DRAINED = 20
"""How many times the largest body is read on and thrown away, so that its sender can hear why it was refused."""


class Gate:
    """ASGI middleware: 401 without the key, 413 for a body too large, 408 and 504 when time is up."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, key: str | None, paths: frozenset[str]) -> None:
        self.app, self.limits, self.metrics, self.key, self.paths = app, limits, metrics, key, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        self.metrics.accepted += 1
        request = _Request(receive, send, self.limits.max_bytes)
        try:
            async with asyncio.timeout(self.limits.timeout):
                if self.key is not None and scope["path"] not in OPEN and not _has_key(scope, self.key):
                    await request.drain()
                    answer = JSONResponse({"detail": "this needs the key: Authorization: Bearer KEY"}, 401)
                    answer.headers["WWW-Authenticate"] = "Bearer"
                    await answer(scope, request.receive, request.send)
                else:
                    await self.app(scope, request.receive, request.send)
        except TimeoutError:
            if request.status is None:
                status = 504 if request.whole else 408
                what = "the answer took" if request.whole else "the request took"
                answer = JSONResponse({"detail": f"{what} longer than {self.limits.timeout:g} s"}, status)
                await answer(scope, request.receive, request.send)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.requests.add(path, str(request.status or NO_STATUS))
            self.metrics.seconds.observe(time.perf_counter() - start)


class _Request:
    """A request as it comes in: its body counted, the status of its answer noted."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self._receive, self._send, self.max_bytes = receive, send, max_bytes
        self.bytes, self.whole = 0, False
        self.status: int | None = None

    async def receive(self) -> Message:
        """The next part of the body. HTTPException 413 where it is too large."""
        message = await self._next()
        if self.bytes > self.max_bytes:
            await self.drain()
            raise HTTPException(413, f"the request has more than {self.max_bytes:,} bytes")
        return message

    async def drain(self) -> None:
        """Read the rest of the body and forget it."""
        while not self.whole and self.bytes <= DRAINED * self.max_bytes:
            await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        else:
            self.whole = True
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _has_key(scope: Any, key: str) -> bool:
    given = dict(scope["headers"]).get(b"authorization", b"")
    return hmac.compare_digest(given, b"Bearer " + key.encode())
