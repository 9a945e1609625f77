"""`engine.pack.lint` on the good pack; tests/packs shows every fault that it finds."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.pack.lint import FOR_OPTIONS, lint
from engine.pack.load import load_rules
from engine.pack.mentions import conditions_of, mentions
from engine.pack.model import Criterion

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

GOOD = Path(__file__).parents[1] / "packs" / "good"


@pytest.fixture
def book() -> RuleBook:
    return load_rules(GOOD)


def test_a_good_pack_has_neither_faults_nor_warnings(book: RuleBook) -> None:
    found = lint(book, date(2026, 2, 1))
    assert (found.faults, found.warnings) == ([], [])


@pytest.mark.parametrize(("day", "is_due"), [(date(2027, 1, 2), False), (date(2027, 1, 3), True)])
def test_a_review_is_due_the_day_after_its_interval(book: RuleBook, day: date, *, is_due: bool) -> None:
    found = lint(book, day)
    assert {f.code for f in found.faults} == ({"lint/review-overdue"} if is_due else set())
    assert {w.code for w in found.warnings} == ({"lint/stale-parameter"} if is_due else set())


def test_every_effect_is_either_for_options_or_known_not_to_be() -> None:
    effects = Criterion.model_fields["effect"].annotation
    names = set(effects.__args__)  # type: ignore[union-attr]
    assert names - FOR_OPTIONS == {"triages", "discounts", "withholds", "defines"}


def test_names_are_read_from_conditions_as_they_are_written(book: RuleBook) -> None:
    criteria = book.packs["tiny"].criteria
    assert {"age_years", "one_failed"} <= mentions(criteria["TINY-IND-01"])
    assert "$pressure_limit" in mentions(criteria["TINY-WP-01"])
    assert mentions(criteria["TINY-CI-02"]) == {"allergy"}
    assert conditions_of(criteria["TINY-IND-02"]) == []
    grade = book.derived("grade")
    assert grade is not None
    assert "score" in mentions(grade)
