"""`truefit serve RUN`: classify images over HTTP."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from truefit.commands.arguments import parse
from truefit.config import require
from truefit.errors import InputError
from truefit.extras import needs
from truefit.serve.limits import Limits


@dataclass(frozen=True, kw_only=True)
class ServeCommand:
    """Classify images over HTTP: POST /predict, GET /health, GET /metrics (Prometheus), and /docs, which explains them.
    Ends on Ctrl-C or SIGTERM, after the requests that were accepted have their answers."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A folder that truefit train wrote."""
    host: str = "127.0.0.1"
    """The address to listen at; this machine alone, unless told otherwise (0.0.0.0: everybody)."""
    port: int = 8000
    """The port; 0 takes any that is free."""
    api_key_file: Path | None = None
    """A file whose first line clients must send as Authorization: Bearer KEY. By default $TRUEFIT_API_KEY, if set."""
    sure: float | None = None
    """A wanted accuracy, such as 0.95: answer "not sure" below the threshold that calibration fixed for it."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    model: str | None = None
    """package.module:callable that makes the network, where the run's is not one of truefit's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "port", self.port, "from 0 to 65535")


def main(arguments: Sequence[str]) -> int:
    """Parse, load, serve until a signal."""
    command = parse(ServeCommand, "serve", arguments)
    needs("serve", "fastapi", "uvicorn", "python_multipart")

    from truefit.commands.supplied import supplied_network
    from truefit.loading import load
    from truefit.predictor import Predictor
    from truefit.serve.app import make_app
    from truefit.serve.run import address_of, listen, serve

    key = _key(command.api_key_file)
    run = load(command.run, network=supplied_network(command.model), device=command.device)
    assert isinstance(run.predictor, Predictor)
    name = command.run.resolve().name
    app = make_app(run.predictor, name=name, limits=command.limits, key=key, sure=command.sure)
    sock = listen(command.host, command.port)
    address = address_of(sock)
    if key is None and not ipaddress.ip_address(sock.getsockname()[0]).is_loopback:
        print("warning: anybody who reaches this machine can use the service: --api-key-file FILE", file=sys.stderr)

    def ready() -> None:
        print(f"serving {name} at {address} (try {address}/docs; Ctrl-C ends it)", flush=True)

    def ended() -> str:
        return f"the service has ended: {app.state.metrics.summary()}"

    serve(app, sock, timeout=command.limits.timeout, ready=ready, ended=ended)


def _key(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get("TRUEFIT_API_KEY") or None
    try:
        key = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the file with the key can't be read", where=path, found=error) from error
    if not key:
        raise InputError("the file with the key is empty", where=path, wanted="the key in its first line")
    return key
