"""What is released: the wheel holds all that is needed, and the pages tell every field of a run's files."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from helpers import image_set, tiny_network
from truefit import Recipe, Trainer

ROOT = Path(__file__).parents[1]


def test_wheel_holds_every_module_and_every_file_that_is_read(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").glob("truefit-*-py3-none-any.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(tmp_path / "src").as_posix() for path in (tmp_path / "src").rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "egg-info" not in name}
    assert wanted - held == set()


def test_licences_of_what_is_used_are_those_of_the_packages_metadata():
    made = runpy.run_path(str(ROOT / "docs" / "licences.py"))["pages"]()
    for language, page in made.items():
        written = (ROOT / "docs" / language / "licences.md").read_text(encoding="utf-8")
        assert written == page, "python docs/licences.py writes it anew"
    named = {line.split("|")[2].strip().lower() for line in made["en"].splitlines() if line.startswith("|")}
    assert {"torch", "pillow", "gradio", "wandb", "fastapi", "onnx"} <= named


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_page_of_files_names_every_field(tmp_path):
    Trainer(tiny_network(), Recipe(epochs=1), device="cpu", observers=[lambda event: None]).fit(
        image_set(), image_set(seed=1), out=tmp_path / "run", report=False
    )
    in_english, in_german = (
        set(re.findall(r"`(\w+)`", (ROOT / "docs" / language / "files.md").read_text())) for language in ("en", "de")
    )
    told = in_english & in_german
    run = tmp_path / "run"
    for file in ("config.json", "evaluation.json", "model/model.json", "history.jsonl", "ledger.jsonl"):
        fields = set(
            json.loads((run / file).read_text().splitlines()[0] if file.endswith("l") else (run / file).read_text())
        )
        assert fields - told == set(), file
