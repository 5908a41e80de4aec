"""The service in its own process: its address, and how it ends."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from truefit.errors import InputError, Interrupted


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the address; port 0 takes any that is free. InputError where it can't be had."""
    sock = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise InputError(
            "the address can't be listened at", where=f"{host}:{port}", found=error, fix="another --port, or --port 0"
        ) from error
    return sock


def address_of(sock: socket.socket) -> str:
    """Where a browser finds what listens there, such as http://127.0.0.1:8000."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: FastAPI, sock: socket.socket, *, timeout: float, ready: Callable[[], None], ended: Callable[[], str]
) -> NoReturn:
    """Serve until SIGINT or SIGTERM; requests that were accepted by then are answered. Raises Interrupted.

    timeout: seconds that the last answers may take. ready: called when the service answers. ended: the last word.
    """

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, timeout_graceful_shutdown=int(timeout) + 5
    )
    names = ("SIGINT", "SIGTERM")
    # uvicorn raises the signal once more when it has finished; this is where that one arrives.
    before = {name: signal.signal(getattr(signal, name), _ended) for name in names}
    number = signal.SIGTERM
    try:
        Server(config).run(sockets=[sock])
    except Interrupted as stop:
        number = signal.Signals(stop.exit_code - 128)
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
    raise Interrupted(ended(), number)


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted("ended", number)
