"""The page of a comparison in a real browser: from a phone to a desktop, in the light and in the dark, checked by axe.

`npm install --prefix tests/integration/axe` installs the accessibility rules.
"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from engine.compare.comparison import Comparison
from engine.compare.stretches import evaluate_cell, lanes, plan
from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from engine.page.compare import render_comparisons
from tests.repository import repository_rules
from tests.unit.compare_book import compared, load_book, years

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
HOSTILE = "<script>window.hacked=1</script>\u202e" + "\u05d0" * 3000 + "W" * 3000
CUT_OFF = """[...document.querySelectorAll("main :is(p, li, td, th)")]
  .filter(e => e.checkVisibility() && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent.slice(0, 40))"""
OUTSIDE = """[...document.querySelectorAll("svg.bands")].flatMap(svg => {
  const bands = [...svg.querySelectorAll("rect.band")].map(r => r.getBoundingClientRect());
  const isIn = (b, r) => r.left <= b.left && b.right <= r.right && r.top <= b.top && b.bottom <= r.bottom;
  const labels = [...svg.querySelectorAll("text.label")].filter(t => getComputedStyle(t).display !== "none");
  return labels.filter(t => !bands.some(r => isIn(t.getBoundingClientRect(), r))).map(t => t.textContent);
})"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a page of every kind of difference, of an emergency and of one that is not ruled out."""
    with closing(Evaluator(load_book(tmp_path_factory.mktemp("book")), "interpret")) as evaluator:
        found = [compared(evaluator, years(2019, 2026), danger=danger, payer_id="ACME") for danger in (True, None)]
    return render_comparisons([("one", found[0]), (HOSTILE, found[1])], {})


@pytest.fixture(scope="module")
def real() -> str:
    """Give the page of a made-up patient in every jurisdiction that has rules."""
    case = json.loads((ROOT / "examples/patients/01-clear-yes.json").read_text(encoding="utf-8"))
    own_day = date.fromisoformat(case["as_of"])
    span = years(2019, 2026)
    with closing(Evaluator(repository_rules(), "interpret")) as evaluator:
        book = evaluator.rules
        facts = read_facts(book.facts, book.dictionary.constraints, case["facts"], own_day)
        planned = plan(evaluator, sorted(book.jurisdictions), None, (span,))
        cells = [evaluate_cell(evaluator, facts, None, *cell) for cell in planned]
    return render_comparisons([("01", Comparison(own_day, None, (span,), lanes(cells)))], {})


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Give a function that opens a page in a window of its own; a message of the browser is a failure."""
    contexts, said = [], []

    def opened(text: str, width: int = 1200, colors: str = "light") -> Page:
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colors)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said


@pytest.mark.parametrize(
    ("name", "colors", "width"),
    [
        ("small", "light", 320),
        ("small", "dark", 400),
        ("small", "light", 1200),
        ("small", "dark", 1200),
        ("real", "light", 400),
        ("real", "dark", 1200),
    ],
)
def test_axe_finds_nothing_and_nothing_is_cut_off(
    request: pytest.FixtureRequest, show: Callable[..., Page], name: str, colors: str, width: int
) -> None:
    page = show(request.getfixturevalue(name), width, colors)
    outside = page.evaluate(OUTSIDE)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    scroll, client = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")

    assert found["passes"], "the rules ran"
    assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]]
    assert scroll == client
    assert not page.evaluate(CUT_OFF)
    assert not outside, "every label lies within its band"
    assert page.evaluate("window.hacked") is None


def test_the_labels_change_with_the_room(real: str, show: Callable[..., Page]) -> None:
    shown = {}
    for width in (400, 1200):
        page = show(real, width)
        labels = page.locator("svg.bands").first.locator("text.label")
        shown[width] = [text for text in labels.all() if text.is_visible()]
    letters, words = ({text.text_content() for text in shown[width]} for width in (400, 1200))

    assert "N" in letters
    assert {"eligible", "not indicated"} <= words


def test_twice_as_large_it_still_fits(real: str, show: Callable[..., Page]) -> None:
    page = show(real, 1200)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") == 1200
    assert not page.evaluate(CUT_OFF)


def test_the_keyboard_reaches_the_table_of_a_chart(real: str, show: Callable[..., Page]) -> None:
    page = show(real)
    summary = page.locator("summary", has_text="the same as a table").first
    summary.focus()
    page.keyboard.press("Enter")

    assert page.locator("table.spans").first.is_visible()


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_letters_and_strips_of_the_bands_stand_out(real: str, show: Callable[..., Page], colors: str) -> None:
    """The contrast of WCAG 2.2: 4.5 for a label on its band, 3 for the border and the pattern of a band."""
    page = show(real, 1200, colors)
    ratios = page.evaluate("""() => {
      const rgb = c => c.match(/[\\d.]+/g).map(Number);
      const light = c => { const [r, g, b] = rgb(c).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const ratio = (a, b) => { const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05); };
      return [...document.querySelectorAll(".legend li")].map(li => {
        const band = getComputedStyle(li.querySelector(".band")), label = getComputedStyle(li.querySelector(".label"));
        const id = li.querySelectorAll("rect")[1].getAttribute("fill").slice(5, -1);
        const drawn = getComputedStyle(document.getElementById(id).querySelector("path"));
        return [ratio(label.fill, band.fill), ratio(band.stroke, band.fill), ratio(drawn.stroke, band.fill)];
      });
    }""")

    assert len(ratios) == 7
    assert all(label >= 4.5 and border >= 3 and drawn >= 3 for label, border, drawn in ratios)
