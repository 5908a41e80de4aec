"""`truefit demo RUN`: a page to try a run on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from truefit.commands.arguments import parse
from truefit.config import require
from truefit.extras import needs


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Try a run in the browser: upload, paste or photograph a picture, see its classes, "not sure" where calibration
    says so, and where the network looked. For machines there is truefit serve. Ends on Ctrl-C."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A folder that truefit train wrote."""
    host: str = "127.0.0.1"
    """The address to listen at; this machine alone, unless told otherwise (0.0.0.0: everybody)."""
    port: int = 7860
    """The port; 0 takes any that is free."""
    sure: float | None = None
    """A wanted accuracy: answer "not sure" below the threshold that calibration fixed for it. By default 0.95, or the
    next lower one that has a threshold."""
    model: str | None = None
    """package.module:callable that makes the network, where the run's is not one of truefit's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "port", self.port, "from 0 to 65535")


def main(arguments: Sequence[str]) -> int:
    """Parse, load, show until a signal."""
    command = parse(DemoCommand, "demo", arguments)
    # gradio takes seconds to import: what can be said without it is said before.
    needs("demo", "fastapi", "uvicorn")

    from truefit.commands.supplied import supplied_network
    from truefit.demo import example_files, make_demo
    from truefit.loading import load
    from truefit.predictor import Predictor
    from truefit.runs.record import Record
    from truefit.serve.run import address_of, listen, serve

    run = load(command.run, network=supplied_network(command.model), device=command.device)
    assert isinstance(run.predictor, Predictor)
    name = command.run.resolve().name
    sock = listen(command.host, command.port)
    address = address_of(sock)
    with sock, tempfile.TemporaryDirectory(prefix="truefit-demo-") as place:
        # Pictures that are uploaded go with the rest.
        os.environ["GRADIO_TEMP_DIR"] = place
        examples = example_files(Record.of(run), Path(place))
        app = make_demo(run.predictor, name=name, sure=command.sure, examples=examples)

        def ready() -> None:
            print(f"the demo of {name} is at {address} (Ctrl-C ends it)", flush=True)

        serve(app, sock, timeout=5, ready=ready, ended=lambda: "the demo has ended")
