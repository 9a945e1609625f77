"""Takes the pictures of the README and of clinician-page.md and rule-format.md in docs, in headless Chromium.

Run it by hand, from the repository's folder.

.venv/bin/python -m examples.pictures.take
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import closing
from datetime import date
from pathlib import Path

from playwright.sync_api import sync_playwright

from engine.cli.root import root
from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from engine.pack.load import load_rules
from engine.page.clinician import Actions, ClinicianView, Receipt, read_history, render_clinician
from engine.site.build import build_site, write_site

ROOT = Path(__file__).parents[2]
PATIENTS = ROOT / "examples" / "patients"
TARGET = ROOT / "docs" / "images"
SHOTS = (
    ("clinician-open.png", "03-unknown", 1200, 1120, "light"),
    ("clinician-emergency.png", "02-emergency", 380, 900, "dark"),
)
"""File, patient, width and height in CSS pixels, and colors."""
CRITERION = "criteria/US-ESK-WP-09.html"
"""Whose page of the site of the rules is shown."""


def render(evaluator: Evaluator, patient: str) -> str:
    """Render the page of a made-up patient, with forms that lead nowhere."""
    book = evaluator.rules
    case = json.loads((PATIENTS / f"{patient}.json").read_text(encoding="utf-8"))
    as_of, jurisdiction, payer = date.fromisoformat(case["as_of"]), case["jurisdiction"], case.get("payer_id")
    facts = read_facts(book.facts, book.dictionary.constraints, case["facts"], as_of)
    evaluation = evaluator.evaluate(facts, jurisdiction, payer, as_of)
    view = ClinicianView(
        decision=evaluation.decision,
        facts=facts,
        definitions=book.facts,
        patient="Patient/1288992",
        drugs={key: drug.display for key, drug in book.drugs.items()},
        history=read_history(book, evaluator.pack_set(jurisdiction, payer, as_of), evaluation),
        packs={pack.id: pack.header for pack in book.packs.values()},
        receipt=Receipt("0e1c9a52-0000-4000-8000-000000000001", "log.example.org/eligibility", 4711, 4720),
        actions=Actions("/answers", "/feedback", "none"),
        reasons={"prefers-alternative": "patient or clinician prefers another treatment"},
    )
    return render_clinician(view)


def main() -> int:
    """Take every picture."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("chromium is not installed", file=sys.stderr)
        return 1
    with (
        closing(Evaluator(load_rules(ROOT / "rules", is_locked=False), "both")) as evaluator,
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium)
        for name, patient, width, height, colors in SHOTS:
            file = Path(folder) / f"{patient}.html"
            file.write_text(render(evaluator, patient), encoding="utf-8")
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colors)
            page.goto(file.as_uri())
            page.screenshot(path=TARGET / name)
            print(TARGET / name)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(file.with_name("03-unknown.html").as_uri())
        page.locator("#d-trials").screenshot(path=TARGET / "clinician-trials.png")
        print(TARGET / "clinician-trials.png")
        write_site(build_site(ROOT / "rules"), Path(folder) / "site")
        page = browser.new_page(viewport={"width": 1200, "height": 1240})
        page.goto((Path(folder) / "site" / CRITERION).as_uri())
        page.screenshot(path=TARGET / "rules-criterion.png")
        print(TARGET / "rules-criterion.png")
        compared = Path(folder) / "compared.html"
        case = str(PATIENTS / "01-clear-yes.json")
        asked = ["compare", case, "--as-of", "2019..2026", "--format", "html", "--output", str(compared), "--unlocked"]
        root.main(asked, standalone_mode=False)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.goto(compared.as_uri())
        page.screenshot(path=TARGET / "compare.png")
        print(TARGET / "compare.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
