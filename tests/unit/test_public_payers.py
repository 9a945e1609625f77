"""What public payers answer: NICE and the running course, the Canadian committee, the formulary of VA."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from engine.evaluator.agree import Evaluator
from tests.property.patients import BENIGN, TODAY, Patient, Patients
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.evaluator.decision import Decision

pytestmark = pytest.mark.long

BOOK = repository_rules()
PATIENTS = Patients(BOOK)
EVALUATOR = Evaluator(BOOK, "interpret")
COURSE = {"treatment_phase": "maintenance", "prior_esketamine": "ongoing", "benefit_at_week4": "yes"}
BARRED = {"intracerebral_hemorrhage_history": "yes"}
FAILED = {"max_dose_mg": 225, "weeks_at_adequate_dose": 8, "adherence": "adherent", "outcome": "nonresponse"}
TRIALS = [{"drug": drug, "ongoing": True, **FAILED} for drug in ("sertraline", "venlafaxine")]


def decide(change: Mapping[str, object], jurisdiction: str, payer: str, as_of: date = TODAY) -> Decision:
    known = {**BENIGN, "trials": TRIALS, **change}
    return EVALUATOR.evaluate(PATIENTS.read(Patient(known, payer, as_of)), jurisdiction, payer, as_of).decision


def covered(
    change: Mapping[str, object], jurisdiction: str, payer: str, as_of: date = TODAY
) -> tuple[str, tuple[str, ...]]:
    coverage = decide(change, jurisdiction, payer, as_of).coverage
    assert coverage is not None
    return coverage.status, tuple(c.id for c in coverage.criteria)


@pytest.mark.parametrize(
    ("change", "status", "criteria"),
    [
        ({}, "not_covered", ("UK-02",)),
        (BARRED, "not_covered", ("UK-02",)),
        ({**COURSE, "esketamine_start_date": "2022-12-13"}, "covered", ("UK-03",)),
        ({**COURSE, **BARRED, "esketamine_start_date": "2022-12-13"}, "covered", ("UK-03",)),
        ({**COURSE, "esketamine_start_date": "2022-12-14"}, "not_covered", ("UK-02",)),
        (COURSE, "insufficient_data", ("UK-03",)),
        ({"esketamine_start_date": "2021-03-01"}, "not_covered", ("UK-02",)),
    ],
)
def test_the_nhs_looks_at_a_running_course_first(
    change: dict[str, object], status: str, criteria: tuple[str, ...]
) -> None:
    assert covered(change, "UK", "NHS") == (status, criteria)


def test_an_unknown_first_day_of_the_course_is_asked_for_coverage_alone() -> None:
    decision = decide(COURSE, "UK", "NHS")

    assert [(q.fact, q.purposes) for q in decision.missing] == [("esketamine_start_date", ("coverage",))]
    assert next(o.status for o in decision.options if o.option == "esketamine") == "eligible"


@pytest.mark.parametrize("change", [{}, BARRED, {"pregnancy_status": "pregnant"}])
def test_va_asks_for_prior_approval_whatever_the_clinical_status(change: dict[str, object]) -> None:
    assert covered(change, "VA", "VA") == ("prior_approval", ("VA-02",))


def test_public_plans_in_canada_do_not_pay_whatever_the_clinical_status() -> None:
    assert covered({}, "CA", "CA_PUBLIC") == covered(BARRED, "CA", "CA_PUBLIC") == ("not_covered", ("CA-03",))


@pytest.mark.parametrize(
    ("jurisdiction", "payer", "day_before"),
    [
        ("UK", "NHS", date(2022, 12, 13)),
        ("CA", "CA_PUBLIC", date(2020, 11, 30)),
        ("VA", "VA", date(2019, 6, 20)),
    ],
)
def test_before_its_first_day_a_position_is_not_assumed(jurisdiction: str, payer: str, day_before: date) -> None:
    assert covered({}, jurisdiction, payer, day_before) == ("insufficient_data", ())
    assert covered(BARRED, jurisdiction, payer, day_before) == ("not_met", ("PAY-GEN-02",))


@pytest.mark.parametrize(
    ("jurisdiction", "payer", "status"), [("US", "VA", "prior_approval"), ("EU", "NHS", "not_covered")]
)
def test_a_payer_answers_wherever_the_patient_is_treated(jurisdiction: str, payer: str, status: str) -> None:
    assert covered({}, jurisdiction, payer)[0] == status


def test_a_veteran_may_be_insured_by_a_commercial_payer() -> None:
    paid = {**BENIGN, "trials": [{**t, "improvement_pct": 10} for t in TRIALS]}

    assert covered(paid, "VA", "CIGNA") == covered(paid, "US", "CIGNA") == ("covered", ("PAY-CIGNA-01",))
