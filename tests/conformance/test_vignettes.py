"""Worked cases, answered by both engines as their authors expect: the clinical vignettes, and our own golden cases."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.evaluator.decision import Decision

ROOT = Path(__file__).parents[2]
VIGNETTES = ROOT.parent / "shared" / "clinical" / "vignettes.jsonl"
BOOK = repository_rules()


def read_cases(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = (json.loads(line) for line in path.read_text().splitlines() if line.strip())
    return [each for each in lines if each["jurisdiction"] in BOOK.jurisdictions]


CASES = read_cases(VIGNETTES)
GOLDEN = read_cases(ROOT / "tests" / "golden" / "unseen_cases.jsonl")
needs_vignettes = pytest.mark.skipif(not CASES, reason="the vignettes in ../shared are not beside this repository")


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    both = Evaluator(BOOK, "both", sessions=1)
    yield both
    both.close()


def decide(evaluator: Evaluator, case: dict[str, Any]) -> Decision:
    as_of = date.fromisoformat(case["as_of"])
    facts = read_facts(BOOK.facts, BOOK.dictionary.constraints, case["facts"], as_of)
    return evaluator.evaluate(facts, case["jurisdiction"], case.get("payer_id"), as_of).decision


@needs_vignettes
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_vignette_is_answered_as_expected(case: dict[str, Any], evaluator: Evaluator) -> None:
    check(case, decide(evaluator, case))


@pytest.mark.parametrize("case", GOLDEN, ids=[case["id"] for case in GOLDEN])
def test_a_golden_case_is_answered_as_derived_by_hand(case: dict[str, Any], evaluator: Evaluator) -> None:
    check(case, decide(evaluator, case))


def check(case: dict[str, Any], decision: Decision) -> None:
    expected = case["expected"]
    for option in decision.options:
        wanted = expected[option.option]
        assert option.status == wanted["status"], option.option
        assert {c.id for c in option.criteria if c.is_reported} >= set(wanted["criteria"]), option.option
        assert option.status in option.could_be
    assert decision.triage.level == expected["triage"]
    referrals = sorted((r.kind, r.urgency) for r in decision.referrals if r.state == "required")
    assert referrals == sorted((r["kind"], r["urgency"]) for r in expected["referrals"])
    assert {q.fact for q in (*decision.missing, *decision.also_ask)} >= set(expected["missing_includes"])
    if expected.get("coverage"):
        assert decision.coverage is not None
        assert decision.coverage.status == expected["coverage"]["status"]
        assert {c.id for c in decision.coverage.criteria} >= set(expected["coverage"]["criteria"])
