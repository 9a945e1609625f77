"""The clinician's page in a real browser: read, answered, overridden, printed, by keyboard, and checked by axe.

`npm install --prefix tests/integration/axe` installs the accessibility rules.
"""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from tests.integration.clinician_site import both_engines, serving
from tests.unit.clinician_pages import hostile_view
from tests.unit.clinician_views import Oddity, Suggested, read_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from engine.evaluator.agree import Evaluator
    from tests.integration.clinician_site import Site

ROOT = Path(__file__).parents[2]
PATIENTS = sorted((ROOT / "examples" / "patients").glob("*.json"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\u202e" + "\u05d0" * 3000 + "W" * 3000
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
CUT_OFF = """[...document.querySelectorAll("main :is(p, li, td, button, legend)")]
  .filter(e => e.checkVisibility() && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent.slice(0, 40))"""
MISSING = {"aneurysmal_vascular_disease", "arteriovenous_malformation", "intracerebral_hemorrhage_history"}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    with both_engines() as made:
        yield made


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Give a function that opens an address in a window of its own; a message of the browser is a failure."""
    contexts, said = [], []

    def opened(address: str, width: int = 1200, colors: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colors)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not [text for text in said if "400 (Bad Request)" not in text]


def unknown_vessels() -> dict[str, Any]:
    """Give a patient of whom everything is known but three vascular contraindications."""
    case: dict[str, Any] = read_case("dated")
    facts = {name: value for name, value in case["facts"].items() if name not in MISSING}
    return {**case, "as_of": "2025-02-10", "facts": facts}


@pytest.fixture
def site(evaluator: Evaluator) -> Iterator[Site]:
    with serving(unknown_vessels(), evaluator) as made:
        yield made


def card(page: Page, option: str) -> str:
    return page.locator(".card", has_text=option).inner_text()


def test_the_page_is_read_under_its_policy(site: Site, show: Callable[..., Page]) -> None:
    page = show(site.address)

    assert "Insufficient data" in card(page, "Esketamine")
    assert "Eligible" in card(page, "Conventional care")
    assert page.locator(".card").first.evaluate("e => getComputedStyle(e).borderTopStyle") == "solid", (
        "it has its style"
    )
    page.locator("#d-argument summary").first.click()
    assert page.locator("#d-argument details[open] .basis").first.is_visible()


def test_an_answer_changes_the_status(site: Site, show: Callable[..., Page]) -> None:
    page = show(site.address)
    for name in sorted(MISSING):
        page.locator(f'input[name="fact.{name}"][value="no"]').check()
    page.get_by_role("button", name="Evaluate again").click()

    assert site.posts == ["/answers"]
    assert site.view.decision.engines.mode == "both"
    assert "Eligible" in card(page, "Esketamine")
    assert "Insufficient data" not in card(page, "Esketamine")
    assert "typed by a clinician: aneurysmal vascular disease" in page.locator("#d-inputs").inner_text()


def test_not_known_changes_nothing(site: Site, show: Callable[..., Page]) -> None:
    page = show(site.address)
    before = card(page, "Esketamine")
    page.get_by_role("button", name="Evaluate again").click()

    assert site.posts == ["/answers"]
    assert site.answers == {}
    assert card(page, "Esketamine") == before


def test_a_contraindication_that_is_answered_bars_the_option(site: Site, show: Callable[..., Page]) -> None:
    page = show(site.address)
    page.locator('input[name="fact.intracerebral_hemorrhage_history"][value="yes"]').check()
    page.get_by_role("button", name="Evaluate again").click()

    assert "Contraindicated" in card(page, "Esketamine")
    assert "Intracerebral hemorrhage" in page.locator("#d-precautions").inner_text()


def test_trials_are_corrected_in_rows(evaluator: Evaluator, show: Callable[..., Page]) -> None:
    case: dict[str, Any] = read_case("dated")
    trials = [{k: v for k, v in trial.items() if k != "adherence"} for trial in case["facts"]["trials"]]
    with serving({**case, "facts": {**case["facts"], "trials": trials}}, evaluator) as site:
        page = show(site.address)
        assert page.locator("#d-trials td").get_by_text("Cannot be judged yet").count() == 2
        for row in (0, 1):
            page.locator(f'select[name="trial.{row}.adherence"]').select_option("adherent")
        page.locator('select[name="trial.2.drug"]').select_option("bupropion")
        page.get_by_role("button", name="Evaluate again").click()

        assert page.locator("#d-trials td").get_by_text("Counts", exact=True).count() == 2
        assert page.locator("#d-trials tbody tr").count() == 3


def test_an_error_keeps_what_was_typed_and_takes_the_focus(evaluator: Evaluator, show: Callable[..., Page]) -> None:
    with serving(read_case("sparse"), evaluator) as site:
        page = show(site.address)
        page.locator("#d-ask details summary").first.click()
        page.locator('input[name="fact.sbp_mmHg"]').fill("12o")
        page.locator('input[name="fact.suicidal_behavior_recency"][value="none"]').check()
        page.get_by_role("button", name="Evaluate again").click()

        assert page.evaluate("document.activeElement.id") == "faults"
        page.locator("#faults a").click()
        field = page.locator('input[name="fact.sbp_mmHg"]')
        assert field.is_visible(), "what holds an error is not folded away"
        assert page.evaluate("document.activeElement.name") == "fact.sbp_mmHg"
        assert field.input_value() == "12o"
        assert page.locator('input[name="fact.suicidal_behavior_recency"]:checked').input_value() == "none"
        assert site.answers == {}

        field.fill("124")
        page.locator('input[name="fact.dbp_mmHg"]').fill("78")
        page.get_by_role("button", name="Evaluate again").click()
        assert site.answers == {"sbp_mmHg": 124, "dbp_mmHg": 78, "suicidal_behavior_recency": "none"}


def test_an_override_needs_a_reason_and_is_shown_once_recorded(site: Site, show: Callable[..., Page]) -> None:
    page = show(site.address)
    page.locator("#comment").fill("patient asked")
    page.get_by_role("button", name="Record as overridden").click()
    assert not site.feedback
    assert page.locator("#comment").input_value() == "patient asked"
    page.locator("#reason").select_option("prefers-alternative")
    page.get_by_role("button", name="Record as overridden").click()

    assert [(f.outcome, f.reason, f.comment) for f in site.feedback] == [
        ("overridden", "prefers-alternative", "patient asked")
    ]
    assert "Recorded: overridden, because of: another treatment is preferred." in page.locator("#d-record").inner_text()


def test_a_decision_is_accepted(site: Site, show: Callable[..., Page]) -> None:
    page = show(site.address)
    page.get_by_role("button", name="Record as accepted").click()

    assert [f.outcome for f in site.feedback] == ["accepted"]
    assert "Recorded: accepted." in page.locator("#d-record").inner_text()


def test_everything_works_by_keyboard_alone(site: Site, show: Callable[..., Page]) -> None:
    page = show(site.address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.name ?? ''")
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid", "the focus can be seen"
        if name.startswith("fact."):
            page.keyboard.press("ArrowUp")
            page.keyboard.press("ArrowUp")
        elif page.evaluate("document.activeElement.tagName") == "BUTTON":
            with page.expect_navigation():
                page.keyboard.press("Enter")
            break

    assert site.posts == ["/answers"]
    assert set(site.answers) == MISSING


@pytest.mark.parametrize(
    ("name", "colors", "width"),
    [
        *(("faulty", colors, width) for colors in ("light", "dark") for width in (320, 1200)),
        *((name, *view) for name in ("emergency", "sparse") for view in (("light", 320), ("dark", 1200))),
    ],
)
def test_axe_finds_nothing(evaluator: Evaluator, show: Callable[..., Page], name: str, colors: str, width: int) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix tests/integration/axe")
    case: dict[str, Any] = read_case("sparse" if name == "faulty" else name)
    case["facts"] |= {"trial_history_complete": None} if name == "faulty" else {}
    more: dict[str, object] = {
        "candidates": [Suggested("breastfeeding", suggests=True)],
        "issues": [Oddity("fhir/conflict", "sbp_mmHg"), Oddity("fhir/text-only", "dx_primary")],
    }
    with serving(case, evaluator, **more) as site:
        page = show(site.address, width, colors)
        if name == "faulty":
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            page.locator('input[name="fact.sbp_mmHg"]').fill("high")
            page.locator('input[name="fact.med_cns_depressants"][value="opioid"]').check()
            page.locator('input[name="fact.med_cns_depressants"][value="(none)"]').check()
            page.get_by_role("button", name="Evaluate again").click()
            assert page.locator("#faults li").count() == 2
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
        scroll, client = page.evaluate(WIDTHS)

    assert found["passes"], "the rules ran"
    assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]]
    assert scroll == client


def test_twice_as_large_it_still_fits(evaluator: Evaluator, show: Callable[..., Page]) -> None:
    with serving(read_case("sparse"), evaluator) as site:
        page = show(site.address, 1200)
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        scroll, client = page.evaluate(WIDTHS)
        cut = page.evaluate(CUT_OFF)

    assert scroll == client
    assert not cut


@pytest.mark.parametrize("width", [320, 1200])
def test_hostile_text_neither_runs_nor_widens_the_page(
    evaluator: Evaluator, show: Callable[..., Page], width: int
) -> None:
    with serving(read_case("emergency"), evaluator) as site:
        site.view = hostile_view(site.view, HOSTILE)
        page = show(site.address, width)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        scroll, client = page.evaluate(WIDTHS)

        assert page.evaluate("'hacked' in window") is False
        assert scroll == client
        assert page.evaluate("document.images.length + document.scripts.length") == 0
        assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def sheets(page: Page) -> int:
    return len(re.findall(rb"/Type /Page\b", page.pdf(format="A4")))


@pytest.mark.parametrize("path", PATIENTS, ids=lambda path: path.stem)
def test_it_prints_on_two_sheets_of_paper(evaluator: Evaluator, show: Callable[..., Page], path: Path) -> None:
    with serving(json.loads(path.read_text(encoding="utf-8")), evaluator) as site:
        page = show(site.address)
        questions = len(site.view.decision.missing)
        pages = sheets(page)

        assert pages <= 4, "two sheets, both sides"
        assert pages <= 3 or questions > 20, "only an almost empty record fills the fourth side"
        page.emulate_media(media="print")
        assert not page.locator("button:visible").count()
        asked = page.locator("#d-ask .paper ol.questions > li")
        assert asked.count() == questions
        assert not questions or asked.last.is_visible()
        bases = page.locator("#d-argument .group:not(.unresolved) .basis")
        assert bases.first.is_visible(), "values and sources are printed although they are folded away on screen"


def test_bars_and_their_words_agree_without_color(evaluator: Evaluator, show: Callable[..., Page]) -> None:
    case: dict[str, Any] = read_case("dated")
    first, second = case["facts"]["trials"]
    third = {k: v for k, v in {**second, "drug": "bupropion"}.items() if k not in {"end_date", "ongoing"}}
    trials = [first, {**second, "max_dose_mg": 10}, third]
    with serving({**case, "facts": {**case["facts"], "trials": trials}}, evaluator) as site:
        page = show(site.address, 380)
        bars = page.locator("svg.trials .bar")
        looks = bars.evaluate_all(
            "bars => bars.map(b => [getComputedStyle(b).fill === getComputedStyle(b).stroke,"
            " getComputedStyle(b).strokeDasharray !== 'none'])"
        )
        boxes = [bars.nth(n).bounding_box() for n in range(bars.count())]
        words = page.locator("svg.trials").text_content()

    assert looks == [[True, False], [False, False], [False, True]]
    assert "end not recorded" in (words or "")
    assert all(box for box in boxes)
    assert all(one["y"] + one["height"] < other["y"] for one, other in pairwise(boxes) if one and other)
