"""What is released: the wheel holds all that is needed, and the pages tell every field of a run's files."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

from PIL import Image

from helpers import image_set, tiny_network
from truefit import Recipe, Trainer, load_data

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


def test_sdist_is_built_and_what_is_installed_from_it_trains_measures_and_predicts(tmp_path):
    """From the sdist a wheel, into an environment that has no other truefit.

    What truefit needs is lent by the environment of the tests: that the names and versions in pyproject.toml are
    enough to install it from an index is not covered here.
    """
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (sdist,) = (tmp_path / "dist").glob("truefit-*.tar.gz")
    fresh = tmp_path / "fresh"
    venv.create(fresh, symlinks=True)
    (site,) = fresh.glob("lib/python*/site-packages")
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, sdist]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], cwd=tmp_path, check=True)
    # Packages alone: no .pth file that could bring the working tree in.
    lent = [place for place in sys.path if place.endswith("site-packages") and Path(place) != site]
    (site / "lent.pth").write_text("".join(f"{place}\n" for place in lent))
    python = [fresh / "bin" / "python", "-P"]
    where = subprocess.run(
        [*python, "-c", "import truefit; print(truefit.__file__)"],
        cwd=fresh,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
    truefit = [*python, "-m", "truefit"]
    for line in (
        ["train", "digits", "--epochs", "1", "--device", "cpu", "--out", "run", "--quiet"],
        ["evaluate", "run", "--quiet"],
        ["init", "own.py"],
    ):
        subprocess.run([*truefit, *line], cwd=fresh, check=True, timeout=200)
    Image.fromarray(load_data("digits").test.read([0])[0]).save(fresh / "digit.png")
    said = subprocess.run(
        [*truefit, "predict", "run", "digit.png", "--json"], cwd=fresh, check=True, capture_output=True, text=True
    )
    assert "probabilities" in said.stdout
    for name in ("report.html", "evaluation.json", "model/model.json"):
        assert (fresh / "run" / name).is_file()


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
