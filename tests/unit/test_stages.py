"""`engine.compiler.stages`: packs become one graph whose nodes answer."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.compiler.levels import LEVELS
from engine.compiler.packset import (
    COVERAGE,
    TRIAGE,
    PackSet,
    any_date,
    in_force,
    node_reads,
    referral_node,
    status_node,
)
from engine.compiler.stages import compile_packs
from engine.errors import RulePackError
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.facts import read_facts
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler import form
    from engine.pack.book import RuleBook

GOOD = Path(__file__).parents[1] / "packs" / "good"
DAY = date(2026, 2, 1)


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return load_rules(GOOD)


@pytest.fixture(scope="module")
def packs(book: RuleBook) -> PackSet:
    return compile_packs(book, "US", "ACME", DAY)


def _values(book: RuleBook, packs: PackSet, facts: Mapping[str, object], day: date = DAY) -> dict[str, form.Value]:
    read = read_facts(book.facts, book.dictionary.constraints, facts, day)
    return Interpreter(packs.compiled).evaluate(prepare(book, packs, read)).values


def test_each_node_stands_after_those_it_reads_and_above_them(packs: PackSet) -> None:
    levels: dict[str, int] = {}
    for node in packs.compiled.graph.nodes:
        for name in node_reads(node):
            assert levels[name] < node.level
        levels[node.name] = node.level


def test_the_whole_answer_is_in_the_graph(packs: PackSet) -> None:
    wanted = {status_node("spray"), status_node("care"), TRIAGE, COVERAGE, referral_node(packs.referrals[0])}
    assert wanted <= packs.nodes.keys()
    assert COVERAGE not in compile_packs(load_rules(GOOD), "US", None, DAY).nodes


def test_concepts_that_nothing_reads_are_dropped_unless_the_whole_is_wanted(book: RuleBook, tmp_path: Path) -> None:
    shutil.copytree(GOOD, tmp_path / "rules")
    with (tmp_path / "rules/tiny/derived.yaml").open("a", encoding="utf-8") as stream:
        stream.write("\n- id: unread\n  label: unread\n  when: danger\n")
    more = load_rules(tmp_path / "rules", is_locked=False)
    assert "unread" not in compile_packs(more, "US", None, DAY).nodes
    assert "unread" in compile_packs(more, "US", None, DAY, is_whole=True).nodes
    assert "unread" not in compile_packs(book, "US", None, DAY, is_whole=True).nodes


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({}, "insufficient_data"),
        ({"allergy": "yes"}, "contraindicated"),
        ({"allergy": "yes", "age_years": 10, "score": 20}, "contraindicated"),
        ({"age_years": 10}, "not_indicated_indication"),
        ({"age_years": 10, "score": 20}, "not_indicated_population"),
        ({"age_years": 40, "trials": [{"drug": "alpha", "weeks_at_adequate_dose": 6}]}, "insufficient_data"),
        ({"age_years": 40, "trials": [{"drug": "alpha", "weeks_at_adequate_dose": 6}], "allergy": "no"}, "eligible"),
        (
            {
                "age_years": 40,
                "trials": [{"drug": "alpha", "weeks_at_adequate_dose": 6}],
                "allergy": "no",
                "pressure": 141,
            },
            "eligible_with_precautions",
        ),
    ],
)
def test_the_worst_level_is_the_status(book: RuleBook, packs: PackSet, facts: dict[str, object], status: str) -> None:
    assert _values(book, packs, facts)[status_node("spray")] == status
    assert status in LEVELS


def test_an_option_that_is_always_indicated_is_eligible(book: RuleBook, packs: PackSet) -> None:
    assert _values(book, packs, {})[status_node("care")] == "eligible"


def test_an_indication_outside_its_dates_is_kept_for_the_explanation_only(book: RuleBook, packs: PackSet) -> None:
    facts: dict[str, object] = {"age_years": 40, "trials": [{"drug": "alpha", "weeks_at_adequate_dose": 6}]}
    values = _values(book, packs, facts, date(2019, 12, 31))
    assert values["TINY-IND-01"] is False
    assert values[any_date("TINY-IND-01")] is True


def test_triage_is_the_worst_level_that_is_met(book: RuleBook, packs: PackSet) -> None:
    assert [_values(book, packs, f)[TRIAGE] for f in ({}, {"danger": False}, {"danger": True})] == [
        "none",
        "none",
        "high",
    ]


@pytest.mark.parametrize(("age", "cover"), [(17, "not_met"), (None, "insufficient_data"), (18, "insufficient_data")])
def test_coverage_reads_the_payers_rows(book: RuleBook, packs: PackSet, age: int | None, cover: str) -> None:
    values = _values(book, packs, {} if age is None else {"age_years": age})
    assert values[COVERAGE] == ("covered" if age == 18 else cover)


def test_a_criterion_may_have_other_dates_and_a_referral_no_place_in_one_jurisdiction(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(GOOD, rules)
    criteria, referrals = rules / "tiny/spray/rules.yaml", rules / "tiny/referrals.yaml"
    dated = "effective: {from: 2020-01-01}"
    criteria.write_text(criteria.read_text().replace(dated, f"{dated}\n  effective_in: {{VA: {{from: 2021-01-01}}}}"))
    referrals.write_text(referrals.read_text().replace("urgency: emer", "jurisdictions: [US]\n    urgency: emer"))
    (rules / "more").mkdir()
    header = (rules / "tiny/pack.yaml").read_text().replace("id: tiny", "id: more").replace("serves: US", "serves: VA")
    (rules / "more/pack.yaml").write_text(header + "extends: [tiny]\n")
    book = load_rules(rules, is_locked=False)
    at_home, elsewhere = (compile_packs(book, each, None, DAY) for each in ("US", "VA"))
    adult = {"age_years": 18, "trials": [{"drug": "alpha", "weeks_at_adequate_dose": 6}]}
    days = [date(2020, 12, 31), date(2021, 1, 1)]
    assert [_values(book, at_home, adult, d)["TINY-IND-01"] for d in days] == [True, True]
    assert [_values(book, elsewhere, adult, d)["TINY-IND-01"] for d in days] == [False, True]
    assert len(at_home.referrals) == 1
    assert elsewhere.referrals == ()


def test_a_criterion_that_is_replaced_steps_back_even_without_dates(tmp_path: Path) -> None:
    shutil.copytree(GOOD, tmp_path / "rules")
    path = tmp_path / "rules/payers/acme/coverage.yaml"
    text = path.read_text(encoding="utf-8").replace("PAY-ACME-01", "PAY-ACME-02")
    text = text.replace("  effect: covers\n", "  effect: cautions\n  replaces: TINY-WP-01\n")
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{text}")
    book = load_rules(tmp_path / "rules", is_locked=False)
    alone, replaced = (compile_packs(book, "US", payer, DAY) for payer in (None, "ACME"))
    assert _values(book, alone, {"pressure": 141})["TINY-WP-01"] is True
    assert _values(book, replaced, {"pressure": 141})["TINY-WP-01"] is False
    assert in_force("PAY-ACME-02") in replaced.nodes


def test_a_criterion_steps_back_for_each_one_that_takes_its_place(tmp_path: Path) -> None:
    shutil.copytree(GOOD, tmp_path / "rules")
    taker = """- id: {id}
  title: Pressure
  options: [spray]
  effect: cautions
  when: pressure > 200 mm[Hg]
  explain: The pressure is {{pressure}}.
  references: [{{source: book}}]
  effective: {period}
  replaces: TINY-WP-01
  strength: test
  confirmed: read
"""
    periods = {"TINY-WP-02": "{from: 2021-01-01, until: 2022-01-01}", "TINY-WP-03": "{from: 2023-01-01}"}
    text = "\n".join(taker.format(id=name, period=period) for name, period in periods.items())
    (tmp_path / "rules/tiny/spray/more.yaml").write_text(text, encoding="utf-8")
    book = load_rules(tmp_path / "rules", is_locked=False)
    packs = compile_packs(book, "US", None, DAY)
    held = {year: _values(book, packs, {"pressure": 150}, date(year, 6, 1))["TINY-WP-01"] for year in range(2020, 2024)}
    assert held == {2020: True, 2021: False, 2022: True, 2023: False}


def test_a_stricter_criterion_may_take_the_place_of_another_one_and_a_weaker_may_not(tmp_path: Path) -> None:
    shutil.copytree(GOOD, tmp_path / "rules")
    path = tmp_path / "rules/tiny/spray/rules.yaml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("  when: allergy is yes", "  when: allergy is yes\n  replaces: TINY-EX-01"))
    packs = compile_packs(load_rules(tmp_path / "rules", is_locked=False), "US", None, DAY)
    assert in_force("TINY-CI-01") in packs.nodes
    path.write_text(good.replace("  when: grade is high", "  when: grade is high\n  replaces: TINY-CI-01"))
    with pytest.raises(RulePackError, match=r"rules\.yaml:65:3: \[pack/replaces\] `TINY-EX-01` excludes"):
        compile_packs(load_rules(tmp_path / "rules", is_locked=False), "US", None, DAY)
