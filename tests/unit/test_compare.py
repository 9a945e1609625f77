"""One patient under the rules of several jurisdictions and days: stretches, what differs, and by which criteria."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.compare.stretches import ABSENT, NO_RULES, Span, answer_of, evaluate_cell, join_spans, plan
from engine.errors import EnginesDisagree, NoRulePackError
from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from tests.repository import repository_rules
from tests.unit.compare_book import OPTION, OWN_DAY, PATIENT, compared, load_book, years

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.compare.comparison import Comparison
    from engine.compare.contrast import Contrast, Difference
    from engine.compiler import form

ROOT = Path(__file__).parents[2]
ALL = years(2019, 2026)


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    """Give both engines over the small book."""
    with closing(Evaluator(load_book(tmp_path_factory.mktemp("book")), "both", sessions=1)) as made:
        yield made


@pytest.fixture(scope="module")
def over_years(evaluator: Evaluator) -> Comparison:
    """Compare the patient over all years."""
    return compared(evaluator, ALL)


def statuses(comparison: Comparison, lane: int, subject: str = OPTION) -> list[tuple[str, str, str]]:
    return [
        (str(s.span.first), str(s.span.last), answer_of(s.cells[0], subject).outcome)
        for s in comparison.lanes[lane].stretches(subject)
    ]


def only(contrasts: tuple[Contrast, ...], day: date, subject: str = OPTION) -> Contrast:
    (found,) = (c for c in contrasts if c.subject == subject and c.span.holds(day))
    return found


def named(contrast: Contrast, name: str) -> Difference:
    (found,) = (d for d in contrast.differences if d.id == name)
    return found


# Stretches


def test_stretches_lie_between_the_days_on_which_the_answer_changes(over_years: Comparison) -> None:
    assert statuses(over_years, 0) == [
        ("2019-01-01", "2019-12-31", "not_indicated"),
        ("2020-01-01", "2024-05-31", "eligible_with_precautions"),
        ("2024-06-01", "2026-12-31", "eligible"),
    ]
    assert statuses(over_years, 1) == [
        ("2019-01-01", "2021-12-31", "not_indicated"),
        ("2022-01-01", "2022-12-31", "eligible_with_precautions"),
        ("2023-01-01", "2026-12-31", "eligible_with_precautions"),
    ]


def test_a_day_of_the_rules_that_changes_no_answer_begins_no_stretch(over_years: Comparison) -> None:
    us, eu = over_years.lanes

    assert date(2022, 1, 1) not in {c.span.first for c in us.cells}, "that is a day of the other place alone"
    assert date(2024, 6, 1) in {c.span.first for c in eu.cells}
    assert date(2024, 6, 1) not in {s.span.first for s in eu.stretches()}


def test_another_criterion_begins_a_stretch_though_the_status_stays(over_years: Comparison) -> None:
    answers = [answer_of(s.cells[0], OPTION) for s in over_years.lanes[1].stretches(OPTION)]

    assert answers[1].outcome == answers[2].outcome
    assert [a.holding for a in answers[1:]] == [{"TINY-WP-01"}, {"OTHER-WP-01"}]


def test_each_cell_is_answered_as_any_day_in_it(evaluator: Evaluator, over_years: Comparison) -> None:
    book = evaluator.rules
    facts = read_facts(book.facts, book.dictionary.constraints, PATIENT, OWN_DAY)
    for lane in over_years.lanes:
        for cell in lane.cells:
            last = evaluate_cell(evaluator, facts, None, cell.jurisdiction, Span(cell.span.last, cell.span.last))
            assert last.answers == cell.answers
        assert [(b.span.first - a.span.last).days for a, b in pairwise(lane.cells)] == [1] * (len(lane.cells) - 1)


def test_every_cell_was_computed_by_both_engines(over_years: Comparison) -> None:
    engines = {c.decision.engines.mode for lane in over_years.lanes for c in lane.cells}

    assert engines == {"both"}


def test_a_comparison_without_agreement_is_none(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    compared(evaluator, ALL)
    chain = next(iter(evaluator._engines.values())).chain  # noqa: SLF001 - only a lie from within makes them differ
    assert chain is not None
    honest = chain.evaluate

    def dishonest(inputs: form.Inputs) -> form.Values:
        values = honest(inputs)
        return replace(values, values={**values.values, "TINY-CI-01": "something else"})

    monkeypatch.setattr(chain, "evaluate", dishonest)
    with pytest.raises(EnginesDisagree):
        compared(evaluator, ALL)


def test_the_patients_own_day_is_answered_though_other_days_were_asked(evaluator: Evaluator) -> None:
    comparison = compared(evaluator, Span(date(2021, 5, 1), date(2021, 5, 1)))

    assert comparison.days == (OWN_DAY, date(2021, 5, 1))
    assert not comparison.has_range
    assert statuses(comparison, 0) == [
        ("2021-05-01", "2021-05-01", "eligible_with_precautions"),
        ("2026-02-01", "2026-02-01", "eligible"),
    ]
    assert comparison.turns[0].places == ("on 2021-05-01", "on 2026-02-01")


@pytest.mark.parametrize(
    ("spans", "joined"),
    [
        ((years(2020, 2021), years(2019, 2020)), (years(2019, 2021),)),
        ((years(2019, 2019), years(2020, 2020)), (years(2019, 2020),)),
        ((years(2021, 2021), years(2019, 2019)), (years(2019, 2019), years(2021, 2021))),
        ((years(2019, 2023), years(2020, 2020)), (years(2019, 2023),)),
        ((), ()),
    ],
    ids=["overlap", "touch", "apart", "within", "none"],
)
def test_spans_that_overlap_or_touch_are_joined(spans: tuple[Span, ...], joined: tuple[Span, ...]) -> None:
    assert join_spans(spans) == joined


def test_the_ends_of_the_calendar(evaluator: Evaluator) -> None:
    comparison = compared(evaluator, Span(date.min, date.max))

    assert statuses(comparison, 0)[0] == ("0001-01-01", "2019-12-31", "not_indicated")
    assert statuses(comparison, 1)[-1] == ("2023-01-01", "9999-12-31", "eligible_with_precautions")


def test_a_jurisdiction_without_rules_is_refused(evaluator: Evaluator) -> None:
    with pytest.raises(NoRulePackError):
        list(plan(evaluator, ("US", "CA"), None, (ALL,)))


# The patient stays as on the own day


def test_the_patient_stays_while_the_rules_are_of_another_day(evaluator: Evaluator) -> None:
    comparison = compared(evaluator, ALL, scored_on="2026-01-20")

    # The score lies after 2022, and its window of 30 days in 2026: both count from the patient's own day.
    assert ("2022-01-01", "2022-12-31", "deferred") in statuses(comparison, 1)
    assert not any(cell.decision.unusable for lane in comparison.lanes for cell in lane.cells)
    assert {cell.decision.as_of for lane in comparison.lanes for cell in lane.cells} == {OWN_DAY.isoformat()}


def test_rules_of_another_day_name_no_next_change(evaluator: Evaluator) -> None:
    book = evaluator.rules
    early = date(2023, 12, 1)
    facts = read_facts(book.facts, book.dictionary.constraints, PATIENT, early)

    own, later = (evaluator.evaluate(facts, "US", None, day).decision for day in (early, date(2024, 6, 1)))

    assert own.changes_on is not None
    assert (own.changes_on.date, own.options[0].status) == ("2024-06-01", "eligible_with_precautions")
    assert (later.changes_on, later.options[0].status, later.as_of) == (None, "eligible", "2023-12-01")


# What makes the difference, from day to day


def test_a_criterion_that_is_not_in_force_yet_makes_the_difference(over_years: Comparison) -> None:
    turn = only(over_years.turns, date(2020, 1, 1))
    indication = named(turn, "TINY-IND-01")

    assert [a.outcome for a in turn.answers] == ["not_indicated", "eligible_with_precautions"]
    assert (indication.decides, indication.reason) == ((1,), "not_in_force")
    assert indication.sentence == "An adult of 40 years with a failed trial."
    assert turn.why(indication) == "Not in force until 2019-12-31: it is in force from 2020-01-01 on."
    assert named(turn, "TINY-IND-02").is_holding


def test_another_number_makes_the_difference_and_is_named(over_years: Comparison) -> None:
    turn = only(over_years.turns, date(2024, 6, 1))
    (pressure,) = turn.differences

    assert (pressure.id, pressure.decides, pressure.reason, pressure.truth) == (
        "TINY-WP-01",
        (0,),
        "other_truth",
        "not_met",
    )
    assert pressure.through == ("pressure above which care is needed (140 mm[Hg], there 160 mm[Hg])",)
    assert turn.why(pressure).startswith("Not met from 2024-06-01 on. Does not apply (pressure: 150 mmHg).")


def test_a_criterion_whose_place_is_taken_is_told_with_its_successor(over_years: Comparison) -> None:
    turn = only(over_years.turns, date(2023, 1, 1))

    assert not turn.has_other_outcome
    assert turn.why(named(turn, "TINY-WP-01")) == "OTHER-WP-01 takes its place from 2023-01-01 on."


def test_a_referral_turns_by_what_it_rests_on(over_years: Comparison) -> None:
    turn = only(over_years.turns, date(2023, 1, 1), "referral: guide")
    (criterion,) = turn.differences

    assert [a.outcome for a in turn.answers] == [ABSENT, "required, routine"]
    assert (criterion.id, criterion.sentence) == ("OTHER-WP-01", "The pressure is high.")
    assert criterion.through == ("Pressure in the other place (OTHER-WP-01)",)


# What makes the difference, from place to place


def test_dates_of_one_place_make_a_difference_between_places(over_years: Comparison) -> None:
    contrast = only(over_years.contrasts, date(2021, 1, 1))

    assert contrast.span == years(2020, 2021)
    assert [a.outcome for a in contrast.answers] == ["eligible_with_precautions", "not_indicated"]
    assert contrast.why(named(contrast, "TINY-IND-01")) == ("Not in force in EU: it is in force from 2022-01-01 on.")


def test_equal_answers_make_no_contrast(over_years: Comparison) -> None:
    spans = [c.span for c in over_years.contrasts if c.subject == OPTION]

    assert not any(span.holds(day) for span in spans for day in (date(2019, 6, 1), date(2022, 6, 1)))
    assert not [c for c in over_years.contrasts if c.subject in {"care", "triage"}]


def test_a_rule_that_does_not_exist_there_is_told_with_the_one_in_its_place(over_years: Comparison) -> None:
    contrast = only(over_years.contrasts, OWN_DAY)
    (pressure,) = contrast.differences

    assert (pressure.id, pressure.decides, pressure.reason, pressure.truth) == (
        "OTHER-WP-01",
        (1,),
        "no_such_rule",
        None,
    )
    assert contrast.why(pressure) == "There is no such rule in US, where TINY-WP-01 stands in its place."
    assert [(r.source, r.title, r.section) for r in pressure.references] == [("book", "A book", "7")]
    assert pressure.confirmed == "unconfirmed"


def test_a_criterion_that_stands_the_same_but_does_not_decide(evaluator: Evaluator) -> None:
    contrast = only(compared(evaluator, score=15).contrasts, OWN_DAY)

    assert named(contrast, "TINY-EX-01").reason == "no_such_rule"
    assert contrast.why(named(contrast, "TINY-IND-01")) == "The same in US, but something else decides."
    assert contrast.differences[0].is_holding, "what holds a status down comes first"


def test_a_conclusion_names_the_indications_that_are_not_met(evaluator: Evaluator) -> None:
    contrast = only(compared(evaluator, age_years=17).contrasts, OWN_DAY)
    conclusion = named(contrast, "TINY-IND-02")

    assert conclusion.decides == (0,)
    assert [(i.id, i.sentence) for i in conclusion.indications] == [("TINY-IND-01", "Does not apply (age: 17 years).")]
    assert contrast.why(conclusion) == "This does not follow in EU."


def test_a_payer_without_rules_in_a_place_is_no_missing_answer(evaluator: Evaluator) -> None:
    comparison = compared(evaluator, payer_id="ACME")
    contrast = only(comparison.contrasts, OWN_DAY, "coverage")

    assert [a.outcome for a in contrast.answers] == ["covered", NO_RULES]
    assert named(contrast, "PAY-ACME-01").reason == "no_such_rule"
    assert not comparison.is_provisional


def test_a_missing_fact_that_decides_makes_it_provisional(evaluator: Evaluator) -> None:
    assert compared(evaluator, allergy=None).is_provisional
    assert compared(evaluator, danger=None).is_provisional


def test_the_first_place_is_the_base(evaluator: Evaluator) -> None:
    contrast = only(compared(evaluator, jurisdictions=("EU", "US")).contrasts, OWN_DAY)

    assert contrast.places == ("in EU", "in US")
    assert [d.decides for d in contrast.differences] == [(0,)]


# What cannot wait


def test_an_emergency_stands_before_the_comparison(evaluator: Evaluator) -> None:
    urgent, calm, unknown = (compared(evaluator, danger=danger) for danger in (True, False, None))

    assert (urgent.triage.level, urgent.is_urgent, urgent.is_open_only) == ("high", True, False)
    assert [(r.kind, r.state) for r in urgent.emergencies] == [("helper", "required")]
    assert not calm.is_urgent
    assert (unknown.is_urgent, unknown.is_open_only) == (True, True)


# The real rules


def test_in_the_us_a_patient_without_an_oral_antidepressant_is_indicated_from_2025_01_21_on() -> None:
    case = json.loads((ROOT / "examples/patients/07-one-day-apart.jsonl").read_text(encoding="utf-8").splitlines()[0])
    with closing(Evaluator(repository_rules(), "both", sessions=1)) as evaluator:
        own_day = date.fromisoformat(case["as_of"])
        book = evaluator.rules
        facts = read_facts(book.facts, book.dictionary.constraints, case["facts"], own_day)
        cells = [evaluate_cell(evaluator, facts, None, *c) for c in plan(evaluator, ("US",), None, (ALL,))]
    answers = {cell.span.first: answer_of(cell, "esketamine") for cell in cells}

    assert answers[date(2019, 1, 1)].criteria == ("US-ESK-IND-14",)
    assert answers[date(2024, 5, 6)].criteria == ("US-ESK-IND-15", "US-ENG-04")
    assert (answers[date(2025, 1, 21)].outcome, answers[date(2025, 1, 21)].criteria) == ("eligible", ("US-ESK-IND-02",))
