"""The site made from the rules in a real browser: light and dark, narrow and wide, on paper, and checked by axe."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from engine.site.build import build_site, write_site
from tests.unit.site_reading import small_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
REAL = ("index.html", "criteria/US-KET-03.html", "concepts/severity_band.html", "packs/us.html")
VIEWS = [(320, "light"), (320, "dark"), (1200, "light"), (1200, "dark")]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(build_site(ROOT / "rules"), folder)
    return folder


@pytest.fixture(scope="module")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that has every kind of page, each of them short."""
    folder = tmp_path_factory.mktemp("small")
    write_site(build_site(small_rules(folder)), folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Give a function that opens a page in a window of its own; a message of the browser is a failure."""
    contexts, said = [], []

    def opened(path: Path, width: int = 1200, colors: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colors)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said


def check(page: Page) -> None:
    """Open all that is folded away, and check that axe finds nothing and that the page fits its window."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix tests/integration/axe")
    page.evaluate(OPEN_ALL)
    scroll, client = page.evaluate(WIDTHS)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("rules => axe.run(document, {runOnly: rules, preload: false})", RULES)

    assert found["passes"], "the rules ran"
    assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]]
    assert scroll == client


@pytest.mark.parametrize(("width", "colors"), VIEWS)
def test_axe_finds_nothing_on_any_kind_of_page(
    show: Callable[..., Page], small_site: Path, width: int, colors: str
) -> None:
    kinds = ("criteria/ABR-CI-01", "criteria/LATER-CI-01", "concepts/failed", "packs/abroad", "differences/US-and-EU")
    paths = [*sorted(small_site.glob("*.html")), *(small_site / f"{kind}.html" for kind in kinds)]
    page = show(small_site / "index.html", width, colors)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 28)" if colors == "dark" else "rgb(255, 255, 255)"), "the style sheet is read"
    for path in paths:
        page.goto(path.as_uri())
        check(page)
    assert len(paths) == 18


@pytest.mark.parametrize(("width", "colors"), VIEWS[::3])
@pytest.mark.parametrize("path", REAL)
def test_axe_finds_nothing_on_real_pages(
    show: Callable[..., Page], site: Path, path: str, width: int, colors: str
) -> None:
    check(show(site / path, width, colors))


def test_every_page_fits_a_narrow_window(show: Callable[..., Page], site: Path) -> None:
    page = show(site / "index.html", 320)
    paths = [p for p in sorted(site.rglob("*.html")) if p.parent.name != "criteria" or p.stem.endswith("05")]
    too_wide = []
    for path in paths:
        page.goto(path.as_uri())
        page.evaluate(OPEN_ALL)
        scroll, client = page.evaluate(WIDTHS)
        if scroll != client:
            too_wide.append(path.name)
    assert not too_wide
    assert len(paths) > 100


def test_a_reader_finds_a_criterion_by_keyboard_alone(show: Callable[..., Page], site: Path) -> None:
    page = show(site / "index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Criteria by id").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="US-KET-03", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/criteria/US-KET-03.html")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open] .basis").first.is_visible()


def test_paper_shows_what_the_screen_folds_away(show: Callable[..., Page], site: Path, tmp_path: Path) -> None:
    page = show(site / "criteria/US-KET-03.html")
    page.emulate_media(media="print")
    assert page.locator("details .basis").first.is_visible()
    assert not page.locator("header nav").is_visible()
    page.pdf(path=tmp_path / "page.pdf")
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "page.pdf").read_bytes())) >= 2
