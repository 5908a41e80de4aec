"""The zoo's manifests are true, its programs whole, and a handful of them really run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ZOO = Path(__file__).resolve().parents[2] / "zoo"
TWINS = sorted((ZOO / "twins").iterdir())
PROGRAMS = sorted(ZOO.rglob("*.py"))
CODES = {
    *(f"FIT{n}" for n in range(101, 109)),
    *(f"FIT{n}" for n in range(201, 211)),
    *(f"FIT{n}" for n in range(301, 310)),
    *(f"FIT{n}" for n in range(401, 406)),
    *(f"FIT{n}" for n in range(501, 512)),
    *(f"FIT{n}" for n in range(601, 606)),
    *(f"FIT{n}" for n in range(701, 704)),
    *(f"FIT{n}" for n in range(801, 806)),
}


def manifest(twin: Path) -> dict:
    return tomllib.loads((twin / "bug.toml").read_text(encoding="utf-8"))


def test_there_are_enough_programs():
    assert len(TWINS) >= 50
    assert len(list((ZOO / "healthy").glob("*.py"))) >= 40


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_a_pair_is_complete_and_its_manifest_true(twin):
    assert {file.name for file in twin.iterdir() if file.is_file()} == {"buggy.py", "fixed.py", "bug.toml"}
    assert re.fullmatch(r"\d\d-[a-z0-9-]+", twin.name)
    bug = manifest(twin)
    assert bug["codes"] and {*bug["codes"], *bug.get("also", [])} <= CODES
    assert bug["model"] and bug["effect"].endswith(".")
    buggy = (twin / "buggy.py").read_text(encoding="utf-8").splitlines()
    fixed = (twin / "fixed.py").read_text(encoding="utf-8").splitlines()
    assert buggy[0] == fixed[0] == f"# After {bug['thread']}"
    assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", bug["thread"])
    assert bug["where"]
    for where in bug["where"]:
        assert buggy[where["line"] - 1].strip() == where["quote"]
    assert buggy != fixed


def test_numbers_are_given_once():
    numbers = [twin.name[:2] for twin in TWINS]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.relative_to(ZOO).as_posix())
def test_a_program_compiles_takes_the_seed_and_tells_no_code(program):
    source = program.read_text(encoding="utf-8")
    compile(source, str(program), "exec")
    assert 'os.environ.get("SEED"' in source
    assert not re.search(r"FIT\d{3}|truefit", source)


@pytest.mark.parametrize(
    ("program", "at_least"),
    [
        ("twins/01-mlp-softmax-layer/fixed.py", 0.8),
        ("twins/07-folder-not-shuffled/fixed.py", 0.8),
        ("twins/37-view-instead-of-permute/fixed.py", 0.8),
        ("healthy/06-accumulation-with-rest.py", 0.8),
        ("healthy/28-lbfgs-closure.py", 0.8),
    ],
)
def test_a_healthy_program_runs_and_learns(program, at_least):
    environment = dict(os.environ, SEED="0", OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, ZOO / program], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    number = float(re.findall(r"\d+\.\d+", last)[-1])
    assert (number / 100 if "%" in last else number) >= at_least
