"""The pytest plugin in a pytest of its own: a test with a silent bug fails, a healthy one passes."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from loops import LOOP, SETUP

ROOT = Path(__file__).resolve().parents[2]
BUGGY = LOOP.replace("        optimizer.zero_grad()\n", "")


def test_of(name: str, loop: str, first: str = "") -> str:
    body = "".join(f"    {line}\n" for line in (first + loop).strip().splitlines())
    return f"\ndef {name}(doctor):\n{body}"


test_of.__test__ = False


def run(folder: Path, text: str, *options: str) -> str:
    (folder / "test_it.py").write_text(text)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "truefit.doctor.pytest_plugin",
            "-q",
            "-p",
            "no:cacheprovider",
            *options,
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_watched_tests_fail_with_their_findings(tmp_path):
    text = SETUP + "import pytest\n"
    text += test_of("test_healthy", LOOP)
    text += test_of("test_buggy", BUGGY)
    text += test_of("test_silenced", BUGGY, "doctor.declare('ignore FIT304 (shown)')\n")
    text += test_of("test_unshuffled", LOOP.replace("loaders()", "DataLoader(data, 16), DataLoader(held, 16)"))
    text += test_of(
        "test_strict", LOOP.replace("loaders()", "DataLoader(data, 16), DataLoader(held, 16)"), "doctor.strict = True\n"
    )
    text += test_of("test_own_failure", BUGGY + "assert False, 'mine'\n")
    text += """
def test_dry_run(doctor):
    assert doctor.check(net(), nn.CrossEntropyLoss(), training_set=data).ok
    with pytest.raises(pytest.fail.Exception):
        doctor.check(net(nn.Softmax(dim=1)), nn.CrossEntropyLoss(), training_set=data)
def test_without_training(doctor):
    assert doctor.findings == []
"""
    said = run(tmp_path, text)
    assert "3 failed, 5 passed" in said, said
    for name in ("test_buggy", "test_strict", "test_own_failure"):
        assert f"FAILED test_it.py::{name}" in said
    assert "FAIL FIT304 gradients-not-cleared" in said
    assert "WARN FIT308 no-shuffle" in said
    assert "optimizer.step()" in (tmp_path / "test_it.py").read_text().splitlines()[_line(said) - 1]
    assert "mine" in said


def _line(said: str) -> int:
    place = next(line for line in said.splitlines() if line.startswith("at:"))
    return int(place.partition("test_it.py:")[2].split()[0])


def test_comment_in_the_tests_file_declares(tmp_path):
    assert "1 passed" in run(tmp_path, "# truefit: ignore FIT304 (shown)\n" + SETUP + test_of("test_buggy", BUGGY))


def test_plugin_is_registered_and_imports_no_torch(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"truefit": "truefit.doctor.pytest_plugin"}
    text = "import sys\ndef test_nothing():\n    assert 'truefit.doctor.pytest_plugin' in sys.modules\n"
    text += "    assert not {'torch', 'numpy'} & set(sys.modules)\n"
    assert "1 passed" in run(tmp_path, text)
