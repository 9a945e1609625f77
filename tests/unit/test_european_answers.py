"""The answers by the European text: the columns for EU, UK and CA of the decision tables, and what is shown beside."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from engine.cli.root import root
from engine.evaluator.agree import Evaluator
from tests.property.patients import BENIGN, TODAY, Patient, Patients
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.evaluator.decision import Decision, OptionAnswer

pytestmark = pytest.mark.long

RULES = Path(__file__).parents[2] / "rules"
BOOK = repository_rules()
PATIENTS = Patients(BOOK)
EVALUATOR = Evaluator(BOOK, "interpret")
FAILED = {"max_dose_mg": 225, "weeks_at_adequate_dose": 8, "adherence": "adherent", "outcome": "nonresponse"}
TRIALS = [{"drug": drug, "ongoing": True, **FAILED} for drug in ("sertraline", "venlafaxine")]
EMERGENCY = {"trials": [], "psychiatric_emergency_judgement": True}
COURSE = {"treatment_phase": "maintenance", "prior_esketamine": "ongoing", "benefit_at_week4": "yes"}


def decide(change: Mapping[str, object], jurisdiction: str = "EU", as_of: date = TODAY) -> Decision:
    facts = {**BENIGN, "psychiatric_emergency_judgement": False, "trials": TRIALS, **change}
    known = {name: value for name, value in facts.items() if value is not ...}
    return EVALUATOR.evaluate(PATIENTS.read(Patient(known, None, as_of)), jurisdiction, None, as_of).decision


def esketamine(change: Mapping[str, object], jurisdiction: str = "EU", as_of: date = TODAY) -> OptionAnswer:
    return next(o for o in decide(change, jurisdiction, as_of).options if o.option == "esketamine")


def reported(answer: OptionAnswer) -> set[str]:
    return {c.id for c in answer.criteria if c.is_reported}


@pytest.mark.parametrize(
    ("change", "status", "criteria"),
    [
        ({"aneurysmal_vascular_disease": "repaired"}, "contraindicated", {"EU-10"}),
        ({"intracerebral_hemorrhage_history": "yes"}, "contraindicated", {"EU-21"}),
        ({"hypersensitivity_esk_ket": "yes"}, "contraindicated", {"EU-22"}),
        ({"recent_cv_event_weeks": 6, "cv_event_history": "yes"}, "contraindicated", {"EU-23"}),
        ({"bp_rise_serious_risk": True, "age_years": 17}, "contraindicated", {"EU-24"}),
        ({"age_years": 17}, "not_indicated", {"EU-20"}),
        ({"dx_primary": "bipolar_depression"}, "not_indicated", {"EU-25"}),
        ({"episode_current": False}, "not_indicated", {"EU-26"}),
        ({"pregnancy_status": "pregnant"}, "not_recommended", {"EU-14"}),
        ({"breastfeeding": True, "oral_ad_class": "ndri"}, "not_recommended", {"EU-28"}),
        ({"contraception_effective": False}, "not_recommended", {"EU-29"}),
        ({"hepatic_child_pugh": "C"}, "not_recommended", {"EU-30"}),
        ({"cv_event_history": "yes", "bp_rise_serious_risk": False}, "insufficient_data", {"EU-31"}),
        ({"contraception_effective": ...}, "insufficient_data", {"EU-32"}),
        ({**EMERGENCY, "concomitant_oral_ad": "no", "oral_ad_class": "none"}, "deferred", {"EU-33"}),
        ({"transport_arranged": False}, "deferred", {"EU-19"}),
        ({"cv_resp_status": "stable"}, "eligible_with_precautions", {"EU-12"}),
        ({"dialysis": True}, "eligible_with_precautions", {"EU-13"}),
        ({"med_theophylline": True}, "eligible_with_precautions", {"EU-15"}),
        ({"psychotic_disorder_history": "past"}, "eligible_with_precautions", {"EU-17"}),
        ({"aud_status": "remission"}, "eligible_with_precautions", {"EU-34"}),
        ({"med_cns_depressants": ["opioid"]}, "eligible_with_precautions", {"EU-35"}),
        ({"age_years": 24}, "eligible_with_precautions", {"EU-36"}),
        ({"interstitial_cystitis": "past"}, "eligible_with_precautions", {"EU-37"}),
        ({"neurocog_status": "mci"}, "eligible_with_precautions", {"EU-38"}),
        ({}, "eligible", set()),
    ],
)
@pytest.mark.parametrize("jurisdiction", ["EU", "UK", "CA"])
def test_a_row_of_the_european_text_decides_in_all_three(
    jurisdiction: str, change: dict[str, object], status: str, criteria: set[str]
) -> None:
    answer = esketamine(change, jurisdiction)

    assert answer.status == status
    assert criteria <= reported(answer)
    assert {c.id for c in answer.criteria}.isdisjoint(BOOK.packs["us"].criteria)


@pytest.mark.parametrize(
    ("change", "jurisdiction", "status", "criteria"),
    [
        ({"prescriber_specialty": "other_mh"}, "EU", "deferred", {"EU-01", "EU-06"}),
        ({"prescriber_specialty": "other_mh"}, "UK", "deferred", {"EU-01", "EU-06", "UK-01"}),
        ({"prescriber_specialty": "other_mh"}, "CA", "eligible", {"CA-01"}),
        ({"age_years": 70, "sbp_mmHg": 150}, "EU", "eligible", {"EU-01"}),
        ({"age_years": 70, "sbp_mmHg": 151}, "EU", "eligible_with_precautions", {"EU-01", "EU-11"}),
        ({"age_years": 70, "sbp_mmHg": 150}, "UK", "eligible", {"EU-01", "UK-01"}),
        ({"age_years": 70, "sbp_mmHg": 141}, "CA", "eligible_with_precautions", {"CA-01", "CA-13"}),
    ],
)
def test_what_holds_in_europe_alone(
    change: dict[str, object], jurisdiction: str, status: str, criteria: set[str]
) -> None:
    answer = esketamine(change, jurisdiction)

    assert (answer.status, reported(answer)) == (status, criteria)


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"oral_ad_class": "ndri"}, {"EU-02"}),
        ({"concomitant_oral_ad": "no", "oral_ad_class": "none"}, {"EU-02"}),
        ({"depression_severity": "mild"}, {"EU-04"}),
        ({"oral_ad_class": "tca", "depression_severity": "mild"}, {"EU-02", "EU-04"}),
        ({"trials": []}, set()),
    ],
)
def test_no_indication_comes_with_its_reasons(change: dict[str, object], reasons: set[str]) -> None:
    answer = esketamine(change)

    assert answer.status == "not_indicated"
    assert reported(answer) == {"US-ESK-IND-15", *reasons}
    assert answer.why_not == ("US-ESK-IND-15",)


@pytest.mark.parametrize("change", [{"age_years": 17}, {"hepatic_child_pugh": "C"}])
def test_the_reasons_are_silent_where_something_else_decides(change: dict[str, object]) -> None:
    answer = esketamine({**change, "oral_ad_class": "ndri", "depression_severity": "mild"})

    assert reported(answer).isdisjoint({"US-ESK-IND-15", "EU-02", "EU-04"})
    assert len(answer.why_not) == 1


def test_an_open_indication_names_the_trials_only_where_they_matter() -> None:
    assert {"US-ESK-IND-17", "US-TRX-18"} <= reported(esketamine({"trials": ...}))
    by_class = reported(esketamine({"oral_ad_class": ...}))
    assert "US-ESK-IND-17" in by_class
    assert "US-TRX-18" not in by_class


def test_a_running_course_outlives_its_severity() -> None:
    well = {"depression_severity": "none", "episode_current": False, "episode_in_remission": True}

    assert esketamine({**COURSE, **well}).status == "eligible"
    assert reported(esketamine(well)) == {"EU-26"}


def test_the_emergency_needs_no_failed_trial_and_any_antidepressant_from_its_first_day() -> None:
    change = {**EMERGENCY, "oral_ad_class": "nassa"}

    before, after = (esketamine(change, "EU", day) for day in (date(2021, 2, 4), date(2021, 2, 5)))

    assert (after.status, reported(after)) == ("eligible", {"EU-05"})
    assert before.status == "not_indicated"
    assert reported(before) == {"US-ESK-IND-15", "US-ENG-04", "EU-02"}


def test_before_the_authorization_only_that_is_said() -> None:
    day = date(2019, 12, 17)

    assert reported(esketamine({}, "EU", day)) == {"EU-27"}
    assert reported(esketamine({"hypersensitivity_esk_ket": "yes"}, "UK", day)) == {"EU-27"}
    assert "EU-27" not in reported(esketamine({}, "CA", day))


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"age_years": 64}, {"EU-08"}),
        ({"age_years": 65}, {"EU-07"}),
        ({"age_years": 65, "psychiatric_emergency_judgement": True}, {"EU-07", "EU-09"}),
        ({"age_years": 65, "psychiatric_emergency_judgement": ...}, {"EU-07"}),
        ({**EMERGENCY, "concomitant_oral_ad": "no", "oral_ad_class": "none"}, set()),
    ],
)
def test_the_schedule_is_that_of_the_indication_and_the_age(change: dict[str, object], shown: set[str]) -> None:
    assert {i.id for i in esketamine(change).dosing} == {*shown, "US-ESK-DOS-10", "US-ESK-DOS-11"}
    assert not {i.id for i in esketamine(change, "CA").dosing} & {"EU-07", "EU-08", "EU-09"}


def test_ketamine_is_off_label_in_europe_wherever_it_may_be_given() -> None:
    def of_ketamine(change: Mapping[str, object], jurisdiction: str) -> OptionAnswer:
        return next(o for o in decide(change, jurisdiction).options if o.option == "ketamine_iv")

    assert {"US-KET-01", "EU-18"} <= reported(of_ketamine({}, "EU"))
    assert "EU-18" in reported(of_ketamine({"transport_arranged": False}, "UK"))
    assert "EU-18" not in reported(of_ketamine({"hypersensitivity_esk_ket": "yes"}, "EU"))
    assert "EU-18" not in reported(of_ketamine({}, "CA"))


@pytest.mark.parametrize(
    ("change", "kind", "urgency", "criteria"),
    [
        ({"prescriber_specialty": "other"}, "psychiatric_evaluation", "routine", {"EU-06"}),
        ({"arteriovenous_malformation": "repaired"}, "vascular_specialist", "routine", {"EU-10"}),
        ({"cv_resp_status": "unstable"}, "cardiorespiratory_review", "same_day", {"EU-12", "US-KET-06"}),
        ({"cv_resp_status": "stable"}, "cardiorespiratory_review", "routine", {"EU-12", "US-KET-06"}),
        ({**COURSE, "pregnancy_status": "pregnant"}, "obstetrics", "same_day", {"EU-14"}),
        ({"interstitial_cystitis": "current"}, "urology", "routine", {"EU-37", "US-KET-53"}),
    ],
)
def test_the_referrals_of_the_european_text(
    change: dict[str, object], kind: str, urgency: str, criteria: set[str]
) -> None:
    found = {r.kind: r for r in decide(change).referrals if r.state == "required"}

    assert (found[kind].urgency, set(found[kind].criteria)) == (urgency, criteria)
    in_canada = {r.kind for r in decide(change, "CA").referrals if r.state == "required"}
    assert (kind in in_canada) is (kind != "psychiatric_evaluation")


def test_a_criterion_is_shown_with_its_condition_and_days_where_it_applies() -> None:
    first = CliRunner().invoke(root, ["rules", "show", "EU-01", "--rules", str(RULES)]).output
    third = CliRunner().invoke(root, ["rules", "show", "EU-33", "--rules", str(RULES)]).output

    assert "  only in: EU, UK\n" in first
    assert "an SSRI or SNRI taken alongside" in first
    assert "  in force in CA: from 2021-09-01\n" in third
