"""The page in a real browser: nothing is fetched, nothing complains, everybody can use it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from made_up import evaluation, pictures, record

from truefit.report.build import write_report

STRANGE = ("<script>alert(1)</script>", "حصان", "n" * 120, "日本", "a&b")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    run = record()
    return write_report([run], out=tmp_path_factory.mktemp("page") / "report.html", images=pictures(run.evaluation))


def opened(browser: Any, place: Path, *, width: int = 1440, scheme: str = "light") -> tuple[Any, list[str]]:
    """The page, and whatever went wrong or over the network while it opened."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(request.url))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.goto(place.as_uri())
    # The one request is for the file itself; pictures in the page are no requests.
    assert trouble.pop(0) == place.as_uri()
    return page, [what for what in trouble if not what.startswith("data:")]


def serious(page: Any) -> list[str]:
    """What axe-core calls serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:120]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_page_opens_without_error_or_request_and_fits_the_window(browser, report, width, scheme):
    page, trouble = opened(browser, report, width=width, scheme=scheme)
    assert trouble == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(browser, report, scheme):
    page, _ = opened(browser, report, scheme=scheme)
    # Also with a cell open and all that can be unfolded unfolded.
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    page.click("table.matrix td.off button >> nth=0")
    assert serious(page) == []
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    page.context.close()


def test_page_takes_its_colours_from_the_reader(browser, report):
    shades = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, report, scheme=scheme)
        shades[scheme] = page.evaluate(
            "[document.body, document.querySelector('.chart .line')]"
            ".map((part) => getComputedStyle(part)[part === document.body ? 'backgroundColor' : 'stroke'])"
        )
        page.context.close()
    assert shades["light"][0] != shades["dark"][0]
    assert shades["light"][1] != shades["dark"][1]


def test_click_into_a_cell_shows_its_samples(browser, report):
    page, trouble = opened(browser, report)
    cell = page.locator("table.matrix td.off button").first
    true, chosen = map(int, cell.get_attribute("data-cell").split(","))
    classes = ("ant", "bee", "cat")
    assert page.locator("#opened").is_hidden()
    cell.click()
    shown = page.locator("#opened")
    assert f"{classes[true]} taken for {classes[chosen]}" in shown.inner_text()
    assert shown.locator("li").count() == int(cell.inner_text())
    assert shown.locator(".thumb").count() == int(cell.inner_text())
    assert trouble == []
    page.context.close()


def test_keyboard_moves_between_cells_and_opens_one(browser, report):
    page, _ = opened(browser, report)
    cells = page.evaluate("[...document.querySelectorAll('table.matrix button')].map((b) => b.dataset.cell)")
    page.locator("table.matrix button").first.focus()
    seen = []
    # Every cell with samples can be reached, row by row.
    for _ in range(3):
        for key in ["ArrowLeft"] * 2 + ["ArrowRight"] * 3:
            seen.append(page.evaluate("document.activeElement.dataset.cell"))
            page.keyboard.press(key)
        page.keyboard.press("ArrowDown")
    assert set(seen) == set(cells)
    page.keyboard.press("Enter")
    assert page.locator("#opened li").count() > 0
    # One stop for Tab, however many cells there are.
    assert page.locator("table.matrix button[tabindex='0']").count() == 1
    page.context.close()


def test_names_with_html_and_of_any_script_are_text(browser, tmp_path):
    run = record(STRANGE, 200)
    place = write_report([run], out=tmp_path / "strange.html", images=pictures(run.evaluation))
    page, trouble = opened(browser, place, width=390)
    page.locator("table.matrix button").first.click()
    assert trouble == []
    assert STRANGE[0] in page.locator("table.classes").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert serious(page) == []
    page.context.close()


def test_thousand_classes_open_as_pairs(browser, tmp_path):
    classes = tuple(f"class {number}" for number in range(1000))
    run = record(classes, evaluation=evaluation(classes, 3000))
    place = write_report([run], out=tmp_path / "many.html", images=pictures(run.evaluation))
    assert place.stat().st_size < 5_000_000
    page, trouble = opened(browser, place)
    assert page.locator("table.matrix").count() == 0
    page.locator("table.pairs button").first.click()
    assert page.locator("#opened .thumb").count() > 0
    assert trouble == []
    page.context.close()


def test_page_prints_as_pdf_in_light_colours(browser, report):
    page, _ = opened(browser, report, scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.context.close()


def test_runs_side_by_side_are_accessible(browser, tmp_path):
    runs = [record(), record(history=[], evaluation=None, weights=None)]
    page, trouble = opened(browser, write_report(runs, out=tmp_path / "both.html"), width=390, scheme="dark")
    assert trouble == []
    assert serious(page) == []
    page.context.close()
