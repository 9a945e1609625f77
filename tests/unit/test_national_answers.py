"""The answers in VA, the United Kingdom and Canada, as far as they differ from the label or the European text."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from engine.evaluator.agree import Evaluator
from tests.property.patients import BENIGN, TODAY, Patient, Patients
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.evaluator.decision import Decision, OptionAnswer

pytestmark = pytest.mark.long

BOOK = repository_rules()
PATIENTS = Patients(BOOK)
EVALUATOR = Evaluator(BOOK, "interpret")
FAILED = {"weeks_at_adequate_dose": 8, "adherence": "adherent", "outcome": "nonresponse", "ongoing": True}
FOUR = [
    {"drug": drug, "max_dose_mg": dose, **FAILED}
    for drug, dose in (("sertraline", 100), ("venlafaxine", 225), ("mirtazapine", 30), ("bupropion", 300))
]
ACUTE = {"si_level": "active_intent_no_plan"}
ONE_DAY = timedelta(days=1)


def decide(change: Mapping[str, object], jurisdiction: str, as_of: date = TODAY) -> Decision:
    facts = {**BENIGN, "psychiatric_emergency_judgement": False, "trials": FOUR[:2], **change}
    known = {name: value for name, value in facts.items() if value is not ...}
    return EVALUATOR.evaluate(PATIENTS.read(Patient(known, None, as_of)), jurisdiction, None, as_of).decision


def answer(option: str, change: Mapping[str, object], jurisdiction: str, as_of: date = TODAY) -> OptionAnswer:
    return next(o for o in decide(change, jurisdiction, as_of).options if o.option == option)


def reported(found: OptionAnswer) -> set[str]:
    return {c.id for c in found.criteria if c.is_reported} | {item.id for item in found.plan}


@pytest.mark.parametrize(
    ("change", "status", "criteria"),
    [
        ({}, "not_indicated", {"US-KET-39"}),
        ({"trials": FOUR}, "eligible", {"VA-03", "US-KET-01"}),
        ({"trials": FOUR, "phq9_total": 15}, "eligible", {"VA-03", "US-KET-01"}),
        ({"trials": FOUR, "phq9_total": 14}, "not_indicated", {"US-KET-39"}),
        ({"trials": FOUR, "phq9_total": ...}, "insufficient_data", {"US-KET-51"}),
        ({"trials": FOUR[:3]}, "eligible", {"VA-03", "US-KET-01"}),
        ({"trials": FOUR[:3], "psychotherapy_trial_adequate": "no"}, "not_indicated", {"US-KET-39"}),
        ({"trials": ...}, "insufficient_data", {"US-KET-51", "US-TRX-18"}),
        ({"trials": FOUR, "psychotic_disorder_history": "past"}, "not_recommended", {"VA-04"}),
        ({"trials": FOUR, "uds_positive": "yes"}, "not_recommended", {"VA-04"}),
        ({"trials": FOUR, "uds_positive": "not_done"}, "eligible", {"VA-03", "US-KET-01"}),
    ],
)
def test_va_has_an_indication_of_its_own_for_ketamine(
    change: dict[str, object], status: str, criteria: set[str]
) -> None:
    found = answer("ketamine_iv", change, "VA")

    assert found.status == status
    assert criteria <= reported(found)
    assert "US-KET-03" not in {criterion.id for criterion in found.criteria}


def test_acute_suicidality_needs_no_failed_trial_in_va() -> None:
    found = answer("ketamine_iv", {**ACUTE, "trials": [], "imminent_risk_judgement": False}, "VA")

    assert found.status == "eligible_with_precautions"
    assert {"VA-03", "US-KET-38"} <= reported(found)


def test_the_va_criteria_begin_on_their_day() -> None:
    day = date(2022, 7, 1)
    before, after = (answer("ketamine_iv", {}, "VA", d) for d in (day - ONE_DAY, day))

    assert (before.status, "US-KET-03" in reported(before)) == ("eligible", True)
    assert after.status == "not_indicated"


def test_the_label_decides_on_esketamine_in_va_and_is_named_as_the_floor() -> None:
    va, us = (answer("esketamine", {}, jurisdiction) for jurisdiction in ("VA", "US"))

    assert va.status == us.status == "eligible"
    assert reported(va) - reported(us) == {"VA-07"}
    assert "VA-01" in {note.id for note in va.notes}


@pytest.mark.parametrize(
    ("change", "urgency", "criteria"),
    [
        (ACUTE, "emergency", {"US-SUI-01", "VA-05"}),
        ({**ACUTE, "imminent_risk_judgement": False}, "same_day", {"US-SUI-02", "VA-05"}),
        ({**ACUTE, "care_setting": "inpatient"}, None, set()),
    ],
)
def test_the_crisis_line_of_veterans_joins_the_referral(
    change: dict[str, object], urgency: str | None, criteria: set[str]
) -> None:
    facts = {"imminent_risk_judgement": ..., **change}
    lines = [r for r in decide(facts, "VA").referrals if r.kind == "crisis_line" and r.state == "required"]

    assert [r.urgency for r in lines] == ([urgency] if urgency else [])
    assert {name for r in lines for name in r.criteria} == criteria
    assert ("988" in "".join(r.because for r in lines)) is bool(lines)


@pytest.mark.parametrize(
    ("change", "jurisdiction", "first_day", "added"),
    [
        ({}, "VA", date(2022, 2, 1), {"VA-06"}),
        ({}, "UK", date(2022, 6, 29), {"UK-05", "UK-06"}),
        ({"ect_history": "responded"}, "UK", date(2022, 6, 29), {"UK-05", "UK-06", "UK-07"}),
        ({"med_maoi": True}, "UK", date(2022, 6, 29), {"UK-05", "UK-06", "UK-08"}),
        ({}, "CA", date(2024, 5, 6), {"CA-08", "CA-09", "US-CON-03", "US-CON-04"}),
        (
            {"ect_history": "declined", "tms_history": "failed"},
            "CA",
            date(2024, 5, 6),
            {"CA-08", "US-CON-03", "US-CON-04"},
        ),
    ],
)
def test_guidelines_add_to_the_plan_from_their_day(
    change: dict[str, object], jurisdiction: str, first_day: date, added: set[str]
) -> None:
    before, after = (
        reported(answer("conventional", change, jurisdiction, day)) for day in (first_day - ONE_DAY, first_day)
    )

    assert after - before == added


@pytest.mark.parametrize(
    ("day", "line"),
    [
        (date(2020, 11, 10), set()),
        (date(2020, 11, 11), {"CA-05"}),
        (date(2024, 5, 5), {"CA-05"}),
        (date(2024, 5, 6), {"CA-06"}),
    ],
)
def test_canmat_is_reported_beside_the_indication_for_ketamine(day: date, line: set[str]) -> None:
    found = answer("ketamine_iv", {}, "CA", day)

    assert found.status == "eligible"
    assert reported(found) == {"US-KET-01", "US-KET-03", *line}


@pytest.mark.parametrize(
    ("day", "status", "criteria"),
    [
        (date(2020, 5, 18), "not_indicated", {"CA-14"}),
        (date(2020, 5, 19), "eligible", {"CA-01"}),
    ],
)
def test_canada_has_a_first_day_of_its_own(day: date, status: str, criteria: set[str]) -> None:
    found = answer("esketamine", {}, "CA", day)

    assert (found.status, reported(found)) == (status, criteria)


@pytest.mark.parametrize(
    ("day", "with_tablet", "without"),
    [
        (date(2021, 8, 31), "not_indicated", "not_indicated"),
        (date(2021, 9, 1), "eligible", "deferred"),
    ],
)
def test_urgent_care_in_canada_begins_later_than_in_europe(day: date, with_tablet: str, without: str) -> None:
    urgent = {"psychiatric_emergency_judgement": True, "trials": []}
    tablet = {**urgent, "oral_ad_class": "nassa"}
    no_tablet = {**urgent, "concomitant_oral_ad": "no", "oral_ad_class": "none"}

    assert answer("esketamine", tablet, "CA", day).status == with_tablet
    assert answer("esketamine", no_tablet, "CA", day).status == without
    assert answer("esketamine", no_tablet, "EU", day).status == "deferred"
