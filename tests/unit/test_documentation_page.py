"""Every page that shows a payer's answer says what its rules are a copy of and what they rest on, in words."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engine.evaluator.agree import NO_DIGEST, Evaluator
from engine.evaluator.decision import CriterionDates, DocumentationItem, Question
from engine.evaluator.encoding import encode_decision, encode_explanation, encode_facts
from engine.page.audit import Audit, Logged, render_audit
from engine.page.clinician import render_clinician
from engine.page.render import render_decisions
from tests.unit.clinician_pages import Structure
from tests.unit.clinician_views import load_book, read_case, view_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.evaluator.decision import Decision
    from engine.page.clinician import ClinicianView

DATES = (
    CriterionDates("PAY-UHC-01", "", ""),
    CriterionDates("PAY-UHC-02", "2020-01-01", "2025-05-01"),
    CriterionDates("PAY-CIGNA-01", "2025-01-21", ""),
)
ITEMS = (
    DocumentationItem("age_years", "age", ("PAY-1", "PAY-2"), "documented", "44", date="2025-05-30", source="<b>1"),
    DocumentationItem("trials", "trials, 1 of 2", ("PAY-1",), "self_reported", "zoloft", lacking=("dose", "outcome")),
    DocumentationItem("oral", "oral drug", ("PAY-1",), "stated", "yes"),
    DocumentationItem("phq9_total", "PHQ-9 total", ("PAY-1",), "missing", None, "What is it?", "it is outside 0 to 27"),
    DocumentationItem("si_level", "suicidal ideation", ("PAY-1",), "missing", None, "Which level?"),
)  # fmt: skip
SHOWN = (
    "A copy, not the policy.",
    "PAY-UHC-01 undated; PAY-UHC-02 from 2020-01-01 until 2025-05-01 ; PAY-CIGNA-01 from 2025-01-21",
    "Documentation 1 documented, 1 self-reported, 1 stated, 2 missing",
    "age Documented 44 2025-05-30, <b>1 PAY-1 PAY-2",
    "trials, 1 of 2 Self-reported zoloft Not recorded: dose, outcome. PAY-1",
    "oral drug Stated yes PAY-1",
    "PHQ-9 total Missing Cannot be used: it is outside 0 to 27. What is it? PAY-1",
    "suicidal ideation Missing Which level? The payer's answer waits for it. PAY-1",
)


@pytest.fixture(scope="module")
def view() -> ClinicianView:
    """A made-up patient in an emergency with a payer, whose checklist is replaced by one that holds every state."""
    with closing(Evaluator(load_book(), "interpret")) as evaluator:
        shown = view_of(evaluator, read_case("emergency"))
    coverage = shown.decision.coverage
    assert coverage is not None
    question = Question("si_level", "Which level?", ("coverage",))
    coverage = replace(coverage, standing="A copy, not the policy.", dates=DATES, documentation=ITEMS)
    return replace(shown, decision=replace(shown.decision, coverage=coverage, missing=(question,)))


def audit(view: ClinicianView, change: Callable[[bytes], bytes] = bytes) -> Audit:
    zeros = NO_DIGEST.hex()
    logged = Logged(
        "Evaluate",
        encode_facts(view.facts, view.definitions),
        b"{}",
        change(encode_decision(view.decision)),
        change(encode_explanation(view.decision)),
        zeros,
        zeros,
        {},
    )
    digests = dict.fromkeys(("packs", "reference", "engine", "schema"), "a1" * 32)
    return Audit("log.example.org", 1, "an entry", "2025-06-02T08:30:00Z", digests, logged=logged)


def explained(view: ClinicianView) -> str:
    return render_decisions([("A", view.decision)])


def audited(view: ClinicianView) -> str:
    return render_audit(audit(view))


@pytest.mark.parametrize("render", [explained, render_clinician, audited])
def test_the_checklist_is_on_the_page_in_words(view: ClinicianView, render: Callable[[ClinicianView], str]) -> None:
    text = Structure(render(view)).text

    assert [said for said in SHOWN if said not in text] == []
    assert text.count("The payer's answer waits for it.") == 1


@pytest.mark.parametrize("render", [explained, render_clinician, audited])
def test_without_a_payer_there_is_no_checklist(view: ClinicianView, render: Callable[[ClinicianView], str]) -> None:
    text = Structure(render(replace(view, decision=replace(view.decision, coverage=None)))).text

    assert "Documentation" not in text
    assert "In force" not in text.replace("Dated number In force", "")


def test_a_payer_whose_rows_ask_for_nothing_has_no_table(view: ClinicianView) -> None:
    def without(decision: Decision) -> Decision:
        assert decision.coverage is not None
        return replace(decision, coverage=replace(decision.coverage, documentation=(), dates=()))

    text = Structure(explained(replace(view, decision=without(view.decision)))).text

    assert "A copy, not the policy." in text
    assert "Documentation" not in text


def test_an_entry_that_was_logged_without_a_checklist_can_still_be_read(view: ClinicianView) -> None:
    def older(content: bytes) -> bytes:
        part = json.loads(content)
        part.pop("documentation", None)
        for name in ("standing", "dates", "documentation"):
            if isinstance(part["coverage"], dict):
                part["coverage"].pop(name)
        return json.dumps(part).encode()

    text = Structure(render_audit(audit(view, older))).text

    assert "Coverage" in text
    assert "Documentation" not in text
