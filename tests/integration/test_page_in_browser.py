"""The page in a real browser: inside a record's narrow frame, on a desktop, in the dark and on paper."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import closing
from dataclasses import replace
from datetime import date
from html import escape, unescape
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from engine.page.render import render_decisions
from tests.repository import repository_rules

if TYPE_CHECKING:
    from engine.evaluator.decision import Decision

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "golden" / "page"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
HOSTILE = "<script>parent.hacked=true</script><img src=x onerror=parent.hacked=true>\u202e"
Measures: TypeAlias = dict[str, object]

# The page stays as it is; a script beside its frame looks into it. The contrast is that of WCAG 2.2.
PROBE = """<!DOCTYPE html><meta charset="utf-8">
<iframe width="{width}" height="900" style="border:0" srcdoc="{page}"></iframe><pre></pre><script>
const rgb = c => c.match(/[\\d.]+/g).map(Number);
const light = c => {{
  const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}};
document.querySelector("iframe").onload = event => {{
  const view = event.target.contentWindow, page = view.document, style = e => view.getComputedStyle(e);
  const closed = page.querySelectorAll("details:not([open])").length;
  page.querySelectorAll("details").forEach(d => d.open = true);
  const ground = e => {{
    for (; e; e = e.parentElement) {{
      const color = style(e).backgroundColor;
      if (rgb(color)[3] !== 0) return color;
    }}
  }};
  const pale = [], walk = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walk.nextNode()) {{
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim()) continue;
    texts += 1;
    const [low, high] = [light(style(e).color), light(ground(e))].sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) pale.push(e.className + ": " + e.textContent.slice(0, 40));
  }}
  page.querySelector("summary")?.focus();
  document.querySelector("pre").textContent = JSON.stringify({{
    inner: page.documentElement.clientWidth, needed: page.documentElement.scrollWidth, texts, pale, closed,
    background: style(page.body).backgroundColor, requests: view.performance.getEntriesByType("resource").length,
    hacked: "hacked" in window, scripts: page.scripts.length,
    focus: page.activeElement.tagName, ring: style(page.activeElement).outlineStyle,
  }});
}};
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def decisions() -> dict[str, Decision]:
    """Real decisions on the made-up patients beside the golden pages."""
    book = repository_rules()
    result = {}
    with closing(Evaluator(book, "interpret")) as evaluator:
        for file in sorted(CASES.glob("*.json")):
            case = json.loads(file.read_text())
            as_of = date.fromisoformat(case["as_of"])
            facts = read_facts(book.facts, book.dictionary.constraints, case["facts"], as_of)
            result[case["id"]] = evaluator.evaluate(facts, case["jurisdiction"], case["payer_id"], as_of).decision
    return result


def browse(folder: Path, *options: str) -> str:
    assert CHROMIUM is not None
    command = (CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}", *options)
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8", timeout=60).stdout


def measure(folder: Path, page: str, width: int, *options: str) -> Measures:
    """Show a page in a frame of `width` CSS pixels, open everything in it, and measure."""
    file = folder / "probe.html"
    file.write_text(PROBE.format(width=width, page=escape(page)), encoding="utf-8")
    dumped = browse(folder, *options, "--dump-dom", file.as_uri())
    found = re.search(r"<pre>(\{.*?\})</pre>", dumped, flags=re.DOTALL)
    assert found, "the page did not load"
    measures: Measures = json.loads(unescape(found[1]))
    return measures


def count_sheets(folder: Path, page: str) -> int:
    """Print a page and count the sheets of paper."""
    source, printed = folder / "page.html", folder / "page.pdf"
    source.write_text(page, encoding="utf-8")
    browse(folder, "--no-pdf-header-footer", f"--print-to-pdf={printed}", source.as_uri())
    return len(re.findall(rb"/Type /Page\b", printed.read_bytes()))


@pytest.mark.parametrize("width", [320, 380, 1200])
@pytest.mark.parametrize("colors", ["light", "dark"])
def test_a_page_fits_its_frame_and_can_be_read(
    decisions: dict[str, Decision], tmp_path: Path, width: int, colors: str
) -> None:
    page = render_decisions(list(decisions.items()))
    measures = measure(tmp_path, page, width, *([DARK] if colors == "dark" else []))

    assert measures["inner"] == width or measures["inner"] == width - 15, "less a scroll bar"
    assert measures["needed"] == measures["inner"]
    assert measures["background"] == ("rgb(20, 24, 28)" if colors == "dark" else "rgb(255, 255, 255)")
    assert isinstance(measures["texts"], int)
    assert measures["texts"] > 1000
    assert not measures["pale"]


def test_the_keyboard_reaches_what_is_folded_away(decisions: dict[str, Decision], tmp_path: Path) -> None:
    measures = measure(tmp_path, render_decisions([("A", decisions["emergency"])]), 380)

    assert measures["closed"]
    assert measures["focus"] == "SUMMARY"
    assert measures["ring"] == "solid"


def test_hostile_text_neither_runs_nor_widens_the_page(decisions: dict[str, Decision], tmp_path: Path) -> None:
    decision = decisions["emergency"]
    options = tuple(
        replace(option, criteria=tuple(replace(c, id="Z" * 10_000, because=HOSTILE) for c in option.criteria))
        for option in decision.options
    )
    page = render_decisions([(HOSTILE, replace(decision, options=options)), ("\u05d0" * 10_000, decision)])
    measures = measure(tmp_path, page, 380)

    assert measures["needed"] == measures["inner"]
    assert measures["hacked"] is False
    assert measures["scripts"] == 0
    assert measures["requests"] == 0


def test_paper_shows_what_the_screen_folds_away(decisions: dict[str, Decision], tmp_path: Path) -> None:
    page = render_decisions([("A", decisions["emergency"])])
    folded = count_sheets(tmp_path, page)

    assert folded == count_sheets(tmp_path, page.replace("<details", "<details open"))
    assert folded > count_sheets(tmp_path, page.replace("details::details-content", "details::nothing"))
