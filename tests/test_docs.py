"""The documentation: complete in both languages, built without a warning, and its programs run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from truefit.data.lookup import load_data

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENGLISH, GERMAN = DOCS / "en", DOCS / "de"
# The door to both languages, of the project itself, or from docstrings.
ONE_LANGUAGE = {"index.md", "architecture.md", "reference.md"}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def names(folder: Path) -> set[str]:
    return {str(page.relative_to(folder)) for page in folder.rglob("*.md")}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Each block between fences: its language and its text."""
    return FENCED.findall(page.read_text(encoding="utf-8"))


def programs(page: Path) -> list[str]:
    """What is run. Other people's code, which needs their packages, stands in blocks called `py`."""
    return [text for language, text in blocks(page) if language == "python"]


def test_every_page_has_its_twin_in_the_other_language() -> None:
    assert names(ENGLISH) == names(GERMAN)
    assert {page.name for page in DOCS.glob("*.md")} <= ONE_LANGUAGE


@pytest.mark.parametrize("name", sorted(names(ENGLISH)))
def test_twins_have_the_same_parts_and_programs(name: str) -> None:
    english, german = ENGLISH / name, GERMAN / name
    assert blocks(english) == blocks(german)
    for what in (r"^#+ ", r"^    \S", r"^\|", r"!\["):
        both = [len(re.findall(what, page.read_text(encoding="utf-8"), re.MULTILINE)) for page in (english, german)]
        assert both[0] == both[1], f"{what} stands {both[0]} times in English, {both[1]} times in German"


@pytest.mark.parametrize("name", sorted(name for name in names(ENGLISH) if programs(ENGLISH / name)))
def test_the_programs_of_a_page_run_as_they_stand(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    test = load_data("digits").test
    assert test is not None
    Image.fromarray(test.read([0])[0]).save("photo.png")
    space: dict[str, object] = {"__name__": "__main__"}
    for program in programs(ENGLISH / name):
        exec(compile(program, name, "exec"), space)
    assert capsys.readouterr().out
    pictures = re.findall(r"!\[[^\]]*\]\(\.\./images/([^)]+)\)", (ENGLISH / name).read_text(encoding="utf-8"))
    made = {place.name for place in tmp_path.iterdir()}
    assert {picture for picture in pictures if picture.startswith(Path(name).stem)} <= made


def test_every_code_of_the_doctor_stands_in_both_lists() -> None:
    for folder in (ENGLISH, GERMAN):
        listed = re.findall(r"^\| \[(FIT\d+)\]", (folder / "doctor.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert listed == sorted(page.stem for page in (DOCS / "doctor").glob("FIT*.md"))


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    assert (site / "de" / "tutorial.html").is_file()
    # Nothing is fetched from elsewhere when a page is looked at.
    fetched = re.compile(
        r"""(?:<(?:script|img|iframe)[^>]* src=|<link rel="(?!canonical|next|prev)[^>]* href=)["']?https?:"""
    )
    assert not [str(page) for page in site.rglob("*.html") if fetched.search(page.read_text(encoding="utf-8"))]
