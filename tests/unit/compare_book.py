"""A small rule book of two jurisdictions whose rules are known to differ, and a patient for it.

US is `tests/packs/good` with a number that changes on 2024-06-01 and an exclusion of its own. EU adds to it: its
indication begins on 2022-01-01, its own warning takes the place of the other on 2023-01-01, it has a second indication,
a deferral by a window of days, and a referral.
"""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from engine.compare.comparison import Comparison
from engine.compare.stretches import Span, evaluate_cell, join_spans, lanes, plan
from engine.facts import read_facts
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from engine.evaluator.agree import Evaluator
    from engine.pack.book import RuleBook

GOOD = Path(__file__).parents[1] / "packs" / "good"
OWN_DAY = date(2026, 2, 1)
PATIENT: dict[str, object] = {
    "age_years": 40,
    "trials": [{"drug": "alpha", "weeks_at_adequate_dose": 6}],
    "trial_history_complete": True,
    "allergy": "no",
    "pressure": 150,
    "score": 5,
    "danger": False,
}

OPTION = "esketamine"

_DATED = "effective: {from: 2020-01-01}\n"
_GROUPS = "[[eligible, eligible_with_precautions, deferred], [insufficient_data, not_indicated, contraindicated]]"
_PACK = """
id: other
serves: EU
title: Another pack
version: 1.0.0
status: active
effective_period: {start: 2020-01-01}
last_review_date: 2025-12-31
authors: [nobody]
extends: [tiny]
"""
_CRITERIA = """
- id: OTHER-WP-01
  title: Pressure in the other place
  options: [esketamine]
  effect: cautions
  when: pressure > 120 mm[Hg]
  explain: The pressure of {pressure} is above 120.
  references: [{source: book, section: "7", supports: the lower limit}]
  replaces: TINY-WP-01
  effective: {from: 2023-01-01}
  strength: test
  confirmed: unconfirmed

- id: OTHER-IND-01
  title: Minor
  options: [esketamine]
  effect: indicates
  when: {all: [age_years >= 16 a, {not: age_years >= 18 a}]}
  explain: A minor of {age_years} years.
  references: [{source: book}]
  strength: test
  confirmed: read

- id: OTHER-DEF-01
  title: Scored lately
  options: [esketamine]
  effect: defers
  when: scored_on within 30 d
  explain: The score is of {scored_on}.
  references: [{source: book}]
  strength: test
  confirmed: read
"""
_REFERRALS = """
kinds: {guide: a guide}
referrals:
  - kind: guide
    urgency: routine
    criteria: [OTHER-WP-01]
    when: OTHER-WP-01
    explain: The pressure is high.
"""


def write_rules(folder: Path) -> Path:
    """Write the rules into a folder of their own."""
    target = folder / "rules"
    shutil.copytree(GOOD, target)
    for file in (*target.glob("tiny/**/*.yaml"), *target.glob("payers/**/*.yaml")):
        file.write_text(file.read_text(encoding="utf-8").replace("spray", OPTION), encoding="utf-8")
    _edit(target / "tiny/options.yaml", "[[eligible], [insufficient_data]]", _GROUPS)
    _edit(target / "tiny/options.yaml", "while: [eligible]", "while: []")
    _edit(target / "tiny/parameters.yaml", "{2020-01-01: 140}", "{2020-01-01: 140, 2024-06-01: 160}")
    rules = target / "tiny/spray/rules.yaml"
    _edit(rules, _DATED, f"{_DATED}  effective_in: {{EU: {{from: 2022-01-01}}}}\n")
    _edit(rules, "  title: High grade\n", "  title: High grade\n  jurisdictions: [US]\n")
    other = target / "other"
    (other / "spray").mkdir(parents=True)
    for name, text in (("pack", _PACK), ("spray/rules", _CRITERIA), ("referrals", _REFERRALS)):
        (other / f"{name}.yaml").write_text(text.lstrip(), encoding="utf-8")
    return target


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def load_book(folder: Path) -> RuleBook:
    """Write the rules and load them."""
    return load_rules(write_rules(folder), is_locked=False)


def years(first: int, last: int) -> Span:
    """Give the days of some years."""
    return Span(date(first, 1, 1), date(last, 12, 31))


def compared(
    evaluator: Evaluator,
    *spans: Span,
    jurisdictions: tuple[str, ...] = ("US", "EU"),
    payer_id: str | None = None,
    own_day: date = OWN_DAY,
    **facts: object,
) -> Comparison:
    """Compare what the patient, with other facts where given, is answered."""
    book = evaluator.rules
    raw = {name: value for name, value in (PATIENT | facts).items() if value is not None}
    read = read_facts(book.facts, book.dictionary.constraints, raw, own_day)
    own = Span(own_day, own_day)
    planned = plan(evaluator, jurisdictions, payer_id, join_spans((*spans, own)))
    cells = [evaluate_cell(evaluator, read, payer_id, *cell) for cell in planned]
    return Comparison(own_day, payer_id, spans or (own,), lanes(cells))
