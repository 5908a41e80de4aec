"""What the tests of the command share: small image folders, one trained run, and two ways to call the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from truefit.commands import main

TRUEFIT = Path(sys.executable).with_name("truefit")
COLOURS = {"apple": (200, 40, 40), "banana": (210, 200, 50), "cherry": (90, 20, 90)}
SIDE = 24
# ConvNet on 24 x 24 images, three steps an epoch: about as little as a real training can be.
SMALL = ("--epochs", "2", "--batch-size", "16", "--device", "cpu")


def draw(path: Path, colour: tuple[int, int, int], number: int, side: int = SIDE) -> Path:
    """A noisy image of one colour; `number` decides the noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([number, *colour]).normal(0, 45, (side, side, 3))
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def draw_classes(folder: Path, each: int, first: int = 0, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Path:
    """A folder of class folders with `each` images a class."""
    for name, colour in colours.items():
        for number in range(first, first + each):
            draw(folder / name / f"{number}.png", colour, number)
    return folder


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


@pytest.fixture(scope="session")
def command() -> Call:
    """The command as a process of its own."""

    def call(*words: object, cwd: Path) -> Answer:
        done = subprocess.run(
            [TRUEFIT, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=200, check=False
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
    answer = command("train", fruit, *SMALL, "--json", "--out", "run", cwd=here)
    assert answer.code == 0, answer.err
    return Trained(here / "run", answer)
