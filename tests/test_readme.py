"""The README's examples run as they stand, and say what the README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from truefit.commands import COMMANDS
from truefit.data.lookup import load_data

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_is_an_example_for_each_door_in_python() -> None:
    doors = ["accuracy(network", "ConvolutionalNeuralNet(", "Trainer("]
    assert all(any(door in example for example in EXAMPLES) for door in doors)


@pytest.mark.parametrize("example", EXAMPLES, ids=["functions", "class", "trainer"])
def test_an_example_runs_as_it_stands(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    test = load_data("digits").test
    assert test is not None
    Image.fromarray(test.read([0])[0]).save("photo.png")
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_every_command_stands_in_the_readme() -> None:
    assert all(f"truefit {name}" in README for name in COMMANDS)
