"""The README's claim: while a fact that would rule a therapy out is missing, others answer and this engine asks.

The same rule, in each engine's own idiom, stands in benchmarks/missing_fact.py; the answers are asserted here. An
engine that is not installed is left out with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.missing_fact import (
    ELIGIBLE,
    IDIOMS,
    MISSING,
    NOT_ELIGIBLE,
    OUR_NAMES,
    PATIENT,
    RULES,
    Idiom,
    ask_ours,
    without,
)
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

DECIDES = {"ZEN decision table", "ZEN expression", "CLIPS", "durable-rules", "JsonLogic"}
RAISES = {"CEL in Python", "CEL in C++"}


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return load_rules(RULES, is_locked=False)


@pytest.fixture(params=IDIOMS, ids=lambda idiom: idiom.name)
def rival(request: pytest.FixtureRequest) -> Idiom:
    idiom: Idiom = request.param
    if not idiom.is_installed:
        pytest.skip(f"`{idiom.module}` is not installed; `pip install .[bench]` brings the engines of the comparison")
    return idiom


def test_every_rival_has_an_expected_answer() -> None:
    assert {idiom.name for idiom in IDIOMS} == DECIDES | RAISES


def test_a_rival_decides_rightly_while_everything_is_known(rival: Idiom) -> None:
    assert rival.ask(PATIENT) == ELIGIBLE
    for fact in MISSING.values():
        assert rival.ask({**PATIENT, fact: True}) == NOT_ELIGIBLE


@pytest.mark.parametrize("what", MISSING)
def test_a_rival_lets_a_patient_through_of_whom_a_fact_is_missing(rival: Idiom, what: str) -> None:
    answer = rival.ask(without(what))
    if rival.name in DECIDES:
        assert answer == ELIGIBLE
    else:
        assert answer.startswith("error: ")
        assert MISSING[what] in answer


@pytest.mark.parametrize("what", MISSING)
def test_we_ask_for_exactly_the_missing_fact(book: RuleBook, what: str) -> None:
    status, missing = ask_ours(book, what)
    assert status == "insufficient_data"
    assert missing == (OUR_NAMES[what],)


def test_we_decide_while_everything_is_known(book: RuleBook) -> None:
    status, missing = ask_ours(book, "")
    assert status == "eligible_with_precautions"
    assert missing == ()
