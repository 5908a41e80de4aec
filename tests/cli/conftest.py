"""What the tests of the command share: small image folders, one trained run, and two ways to call the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fruit import NO_AVERAGE, SMALL, draw_classes

from truefit.commands import main

TRUEFIT = Path(sys.executable).with_name("truefit")


@dataclass
class Answer:
    """What a call of the command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one line of stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        value: dict[str, Any] = json.loads(lines[0])
        return value


Call = Callable[..., Answer]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Images as small as these are done sooner by one thread than by two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def command() -> Call:
    """The command as a process of its own."""

    def call(*words: object, cwd: Path, threads: int = 1) -> Answer:
        # Threads that wait by spinning take a busy machine's time from those that they wait for.
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(
            [TRUEFIT, *map(str, words)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """The command in this process, started in an empty folder; an exception that gets out fails the test."""
    here = tmp_path / "cwd"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*words: object) -> Answer:
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return call


@pytest.fixture(scope="session")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three class folders with 20 images each."""
    return draw_classes(tmp_path_factory.mktemp("data") / "fruit", 20)


@dataclass
class Trained:
    """A run that the command made in a process of its own, and what that process said. Only to be read."""

    folder: Path
    answer: Answer

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def trained(fruit: Path, command: Call, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs on the fruit, with --json."""
    here = tmp_path_factory.mktemp("trained")
    answer = command("train", fruit, *SMALL, *NO_AVERAGE, "--json", "--out", "run", cwd=here)
    assert answer.code == 0, answer.err
    return Trained(here / "run", answer)


@pytest.fixture(scope="session")
def digits(command: Call, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One epoch on digits as the command has it by default, into its default folder."""
    here = tmp_path_factory.mktemp("digits")
    answer = command("train", "--epochs", "1", "--batch-size", "256", "--device", "cpu", cwd=here, threads=2)
    assert answer.code == 0, answer.err
    return Trained(here / "runs" / "digits-convnet-1", answer)
