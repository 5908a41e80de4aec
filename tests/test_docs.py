"""The documentation: complete in both languages, built without a warning, and its programs run as they stand."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import reads
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


def pictures(page: Path) -> set[str]:
    """The names of the pictures that the page shows and its programs make: they begin with the page's own."""
    shown = re.findall(r"!\[[^\]]*\]\(\.\./images/([^)]+)\)", page.read_text(encoding="utf-8"))
    return {name for name in shown if name.startswith(page.stem)}


def same_parts(english: Path, german: Path) -> None:
    assert blocks(english) == blocks(german)
    for what in (r"^#+ ", r"^    \S", r"^\|", r"!\["):
        both = [len(re.findall(what, page.read_text(encoding="utf-8"), re.MULTILINE)) for page in (english, german)]
        assert both[0] == both[1], f"{what} stands {both[0]} times in English, {both[1]} times in German"


def test_every_page_has_its_twin_in_the_other_language() -> None:
    assert names(ENGLISH) == names(GERMAN)
    assert {page.name for page in DOCS.glob("*.md")} <= ONE_LANGUAGE


@pytest.mark.parametrize("name", sorted(names(ENGLISH)))
def test_twins_have_the_same_parts_and_programs(name: str) -> None:
    same_parts(ENGLISH / name, GERMAN / name)


def test_both_readmes_have_the_same_parts_and_programs() -> None:
    same_parts(ROOT / "README.md", ROOT / "README.de.md")


@pytest.mark.parametrize("name", ["README.md", "README.de.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_of_the_repository_hold(name: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text(encoding="utf-8")):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_notebook_is_the_tutorial_and_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, page = runpy.run_path(str(DOCS / "notebook.py")), ENGLISH / "tutorial.md"
    text = (DOCS / "tutorial.ipynb").read_text(encoding="utf-8")
    assert text == script["written"](page.read_text(encoding="utf-8")), "python docs/notebook.py writes it anew"
    notebook = reads(text, as_version=4)
    assert [cell.source + "\n" for cell in notebook.cells if cell.cell_type == "code"] == programs(page)
    monkeypatch.setenv("MPLBACKEND", "agg")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert all(cell.get("outputs") for cell in notebook.cells if "print(" in cell.source and cell.cell_type == "code")
    assert pictures(page) == {place.name for place in tmp_path.glob("*.svg")}


# The tutorial's run in its notebook.
@pytest.mark.parametrize(
    "name", sorted({name for name in names(ENGLISH) if programs(ENGLISH / name)} - {"tutorial.md"})
)
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
    assert pictures(ENGLISH / name) <= {place.name for place in tmp_path.iterdir()}


def test_every_code_of_the_doctor_stands_in_both_lists() -> None:
    for folder in (ENGLISH, GERMAN):
        listed = re.findall(r"^\| \[(FIT\d+)\]", (folder / "doctor.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert listed == sorted(page.stem for page in (DOCS / "doctor").glob("FIT*.md"))


def test_the_menu_of_the_site_has_every_page_of_both_languages() -> None:
    listed = re.findall(r"^ +- ((?:en|de)/.*\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(f"{folder.name}/{name}" for folder in (ENGLISH, GERMAN) for name in names(folder))


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
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
