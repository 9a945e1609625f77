"""What is taken, was taken, or is only planned; and the trials that follow from it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.fhir.record_json import parse
from tests.unit.fhir_record import (
    Json,
    candidates,
    concept,
    daily,
    issues,
    of,
    other,
    quantity,
    reading,
    request,
    value,
)

SERTRALINE = concept("rx 36437")


def trials(*resources: Json) -> dict[str, Any]:
    found: Any = value(reading(*resources), "trials")
    return {trial["drug"]: trial for trial in found or ()}


@pytest.mark.parametrize(
    ("medication", "drugs"),
    [
        (concept("rx 36437"), ["sertraline"]),
        (concept("rx 312938"), ["sertraline"]),
        (concept("rx 351250"), ["escitalopram"]),
        (concept(text="Escitalopram 20 MG Oral Tablet"), ["escitalopram"]),
        (concept(text="CITALOPRAM 20 mg"), ["citalopram"]),
        (concept("rx 999999", text="venlafaxine 75 MG"), ["venlafaxine"]),
        (concept("rx 32937"), ["paroxetine"]),
        (concept("rx 3289", "rx 42347"), ["dextromethorphan_bupropion"]),
        (concept("rx 3289"), []),
        (concept("rx 3289", "rx 102490", "rx 1090496"), []),
        (concept(text="dextromethorphan 10 MG/ML Oral Solution"), []),
        (concept(text="olanzapine / fluoxetine"), ["fluoxetine"]),
        (concept("rx 6448"), []),
        (concept("rx 310273", text="famotidine 20 MG"), []),
        (concept("rx 9639"), []),
        (concept("rx 2119365"), []),
        ({"coding": [{"system": "urn:oid:2.16.840.1.113883.6.88", "code": "36437"}]}, ["sertraline"]),
    ],
)
def test_a_medication_leads_to_its_ingredients(medication: Json, drugs: list[str]) -> None:
    assert sorted(trials(request("r", medication))) == drugs


def test_how_a_drug_was_found_is_said() -> None:
    found = [reading(request("r", told)).facts["trials"].matched_by for told in (SERTRALINE, concept("rx 312938"))]

    assert found == ["code", "unconfirmed code"]
    assert reading(request("r", concept(text="sertraline"))).facts["trials"].matched_by == "name"


@pytest.mark.parametrize(
    "more",
    [
        {"contained": [{"resourceType": "Medication", "id": "m", "code": SERTRALINE}], "reference": "#m"},
        {"reference": "Medication/m"},
        {"reference": "https://ehr.example.org/Medication/m"},
        {"reference": "Medication/elsewhere", "display": "SERTRALINE 50 MG PO TABS"},
        {"display": "sertraline"},
    ],
)
def test_a_drug_may_be_referred_to(more: Json) -> None:
    told = request("r", {})
    del told["medicationCodeableConcept"]
    told["contained"] = more.pop("contained", [])
    told["medicationReference"] = more

    assert list(trials(told, {"resourceType": "Medication", "id": "m", "code": SERTRALINE})) == ["sertraline"]


def test_a_medication_may_be_known_by_its_ingredients() -> None:
    parts = [{"itemCodeableConcept": SERTRALINE}]
    medicine = {"resourceType": "Medication", "id": "m", "ingredient": parts}
    told = request("r", {}) | {"medicationCodeableConcept": None, "medicationReference": {"reference": "Medication/m"}}

    assert list(trials(told, medicine)) == ["sertraline"]


def test_a_drug_that_is_not_known_is_said_and_ignored() -> None:
    assert issues(reading(request("r", concept(text="IBUPROFEN 200 MG PO TABS")))) == {
        ("medication-unresolved", "ignored")
    }


@pytest.mark.parametrize("taken", ["active", "on-hold", "completed", "stopped", "ended"])
def test_statuses_that_are_exposure(taken: str) -> None:
    assert "sertraline" in trials(request("r", SERTRALINE, taken=taken))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"status": "cancelled"}, "status-not-counted"),
        ({"status": "draft"}, "status-not-counted"),
        ({"status": "unknown"}, "status-not-counted"),
        ({"status": None}, "status-not-counted"),
        ({"status": "entered-in-error"}, "entered-in-error"),
        ({"intent": "proposal", "status": "completed"}, "status-not-counted"),
    ],
)
def test_requests_that_are_none(more: Json, code: str) -> None:
    read = reading(request("r", SERTRALINE, **more))

    assert not read.facts
    assert issues(read, "trials") == {(code, "ignored")}


PROHIBITED: list[Json] = [
    *({"doNotPerform": value} for value in (True, "true", "false", None, [False], 0)),
    {"_doNotPerform": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason"}]}},
]


@pytest.mark.parametrize("more", PROHIBITED)
@pytest.mark.parametrize("taken", ["active", "completed"])
def test_what_is_not_to_be_given_was_not_taken(more: Json, taken: str) -> None:
    read = reading(request("r", concept("rx 8123"), "2025-06-01", taken, **more))

    assert not read.facts
    assert not read.candidates
    assert issues(read) == {("status-not-counted", "ignored")}
    assert {issue.path for issue in read.issues} == {"MedicationRequest/r.doNotPerform"}
    assert not reading(request("r", SERTRALINE, intent="plan", **more)).candidates


@pytest.mark.parametrize("kind", ["MedicationStatement", "MedicationDispense", "MedicationAdministration"])
def test_a_prohibition_counts_in_no_kind_of_evidence(kind: str) -> None:
    told = other(kind, "m", status="completed", medicationCodeableConcept=SERTRALINE, doNotPerform=True)

    assert not trials(told)


def test_what_is_said_not_to_be_forbidden_counts() -> None:
    assert "sertraline" in trials(request("r", SERTRALINE, doNotPerform=False))


def test_a_prohibition_says_nothing_of_a_drug_that_does_not_matter() -> None:
    assert not reading(request("r", concept("rx 5640"), doNotPerform=True)).issues


def test_a_draft_without_a_drug_is_nothing() -> None:
    draft = {"resourceType": "MedicationRequest", "id": "request-123", "status": "draft"}

    assert not reading({**draft, "subject": {"reference": "Patient/p1"}}).issues


def test_a_plan_that_it_is_taken_only_suggests() -> None:
    read = reading(request("r", SERTRALINE, intent="plan"))

    assert not read.facts
    assert candidates(read, "trials") == ["sertraline"]


@pytest.mark.parametrize(
    ("kind", "status", "counts"),
    [
        ("MedicationStatement", "active", True),
        ("MedicationStatement", "completed", True),
        ("MedicationStatement", "not-taken", False),
        ("MedicationStatement", "intended", False),
        ("MedicationDispense", "completed", True),
        ("MedicationDispense", "preparation", False),
        ("MedicationAdministration", "completed", True),
        ("MedicationAdministration", "not-done", False),
    ],
)
def test_other_kinds_of_evidence(kind: str, status: str, *, counts: bool) -> None:
    told = other(kind, "m", status=status, medicationCodeableConcept=SERTRALINE)

    assert bool(trials(told)) is counts


def test_refills_are_one_trial_from_the_earliest_on() -> None:
    trial = trials(request("a", SERTRALINE, "2024-03-01", "completed"), request("b", SERTRALINE, "2025-03-01"))

    assert trial["sertraline"]["start_date"] == "2024-03-01"
    assert trial["sertraline"]["sources"] == ["MedicationRequest/a", "MedicationRequest/b"]
    assert trial["sertraline"]["ongoing"] is True


@pytest.mark.parametrize(
    ("when", "ongoing"), [("2024-06-02", True), ("2024-06-01", None), ("2025-06-02", True), ("1995-01-01", None)]
)
def test_active_speaks_for_a_year(when: str, ongoing: object) -> None:
    read = reading(request("r", SERTRALINE, when))
    found: Any = value(read, "trials")

    assert found[0].get("ongoing") is ongoing
    assert candidates(read, "trials") == ([] if ongoing else ["sertraline"])


def test_an_active_record_before_a_later_end_only_suggests() -> None:
    read = reading(request("a", SERTRALINE, "2025-01-01"), request("b", SERTRALINE, "2025-05-01", "stopped"))
    found: Any = value(read, "trials")

    assert "ongoing" not in found[0]
    assert candidates(read, "trials") == ["sertraline"]


def test_an_end_is_stated_by_a_period_that_is_over() -> None:
    period = {"start": "2024-01-01", "end": "2024-03-01"}
    told = other(
        "MedicationStatement", "s", status="completed", effectivePeriod=period, medicationCodeableConcept=SERTRALINE
    )

    assert trials(told)["sertraline"]["end_date"] == "2024-03-01"
    assert trials(told)["sertraline"]["ongoing"] is False
    assert "end_date" not in trials(told, request("r", SERTRALINE, taken="stopped"))["sertraline"]


def test_what_no_record_states_stays_missing_and_is_named() -> None:
    trial = trials(request("r", concept("rx 312938")))["sertraline"]

    assert set(trial) == {"drug", "rxnorm", "start_date", "ongoing", "sources", "adequacy", "missing"}
    assert trial["missing"] == ["max_dose_mg", "weeks_at_adequate_dose", "adherence", "outcome"]
    assert trial["adequacy"] == "cannot tell"


@pytest.mark.parametrize(
    ("dosage", "dose"),
    [
        (daily(100), 100),
        (daily(50, frequency=2, period=1, periodUnit="d"), 100),
        (daily(50, frequency=1, period=12, periodUnit="h"), 100),
        (daily(90, frequency=1, period=1, periodUnit="wk"), Decimal("12.86")),
        ({**daily(1), "doseAndRate": None, "doseQuantity": quantity(75, "mg")}, 75),
        (
            {
                "timing": {"code": {"coding": [{"code": "BID"}]}},
                "extension": [
                    {"url": "https://open.epic.com/fhir/extensions/ordered-dose", "valueQuantity": quantity(25, "mg")}
                ],
            },
            50,
        ),
        ({"doseAndRate": [{"doseQuantity": quantity(100, "mg")}]}, None),
        ({"timing": daily(1)["timing"]}, None),
        ({"text": "200 mg daily"}, None),
        ({**daily(100), "asNeededBoolean": True}, None),
        ({**daily(100), "asNeededBoolean": False}, 100),
        (daily(100, frequency=1, period=0, periodUnit="d"), None),
        (daily(0), None),
        (daily(100, frequency=10**14, period=Decimal("1e-14"), periodUnit="h"), None),
        (daily("100"), 100),
    ],
)
def test_a_dose_needs_amount_and_timing_in_mg(dosage: Json, dose: object) -> None:
    assert trials(request("r", SERTRALINE, dosageInstruction=[dosage]))["sertraline"].get("max_dose_mg") == dose


@pytest.mark.parametrize("amount", [{"value": 1}, {"value": 1, "code": "{pill}"}, {"value": 5, "unit": "mL"}])
def test_a_dose_without_mg_is_none(amount: Json) -> None:
    dosage = {"timing": daily(1)["timing"], "doseAndRate": [{"doseQuantity": amount}]}
    read = reading(request("r", SERTRALINE, dosageInstruction=[dosage]))

    assert ("unit", "unusable") in issues(read, "trials")
    assert ("dose-missing", "unusable") not in issues(read, "trials")


def test_several_instructions_are_no_dose() -> None:
    assert (
        "max_dose_mg" not in trials(request("r", SERTRALINE, dosageInstruction=[daily(50), daily(100)]))["sertraline"]
    )


def test_the_highest_dose_needs_every_dose() -> None:
    low, high = (request(str(n), SERTRALINE, dosageInstruction=[daily(n)]) for n in (25, 50))

    assert trials(low, high)["sertraline"]["max_dose_mg"] == 50
    assert "max_dose_mg" not in trials(low, high, request("r", SERTRALINE))["sertraline"]


@pytest.mark.parametrize(
    ("named", "more", "dose"),
    [
        (["low"], {}, 150),
        (["high"], {}, 150),
        ([], {}, None),
        (["low", "high"], {}, None),
        (["another"], {}, None),
        (["high"], {"dosageInstruction": [{"text": "as you like"}]}, None),
    ],
)
def test_a_dispense_without_a_word_of_dose_has_that_of_the_order_that_it_names(
    named: list[str], more: Json, dose: object
) -> None:
    dispensed = other(
        "MedicationDispense",
        "d",
        status="completed",
        medicationCodeableConcept=SERTRALINE,
        whenHandedOver="2025-04-02",
        authorizingPrescription=[{"reference": f"MedicationRequest/{order}"} for order in named],
        **more,
    )
    found = trials(
        request("low", SERTRALINE, "2025-03-01", "stopped", dosageInstruction=[daily(100)]),
        request("high", SERTRALINE, "2025-04-01", dosageInstruction=[daily(150)]),
        dispensed,
    )
    assert found["sertraline"].get("max_dose_mg") == dose


def test_a_dose_below_the_minimum_is_inadequate() -> None:
    trial = trials(request("r", SERTRALINE, dosageInstruction=[daily(25)]))["sertraline"]

    assert (trial["adequacy"], trial["missing"][0]) == ("inadequate", "weeks_at_adequate_dose")


def test_issues_say_what_a_trial_lacks() -> None:
    read = reading(request("r", SERTRALINE))

    assert issues(read, "trials") == {("dose-missing", "unusable"), ("duration-missing", "unusable")}


def test_a_trial_whose_form_or_role_decides_only_suggests() -> None:
    read = reading(
        request("s", concept("rx 9639")), request("q", concept("rx 51272")), request("l", concept("rx 6448"))
    )

    assert "trials" not in read.facts
    assert candidates(read, "trials") == ["lithium", "quetiapine_xr", "selegiline_transdermal"]


@pytest.mark.parametrize(
    ("medication", "fact", "expected"),
    [
        (concept("rx 6470"), "med_cns_depressants", ["benzodiazepine"]),
        (concept("rx 197900"), "med_cns_depressants", ["benzodiazepine"]),
        (concept("rx 1049221"), "med_cns_depressants", ["opioid"]),
        (concept("atc N05CF02"), "med_cns_depressants", ["z_drug"]),
        (concept("rx 1091392"), "med_psychostimulant", True),
        (concept("rx 10438"), "med_theophylline", True),
        (concept("rx 8123"), "med_maoi", True),
    ],
)
def test_what_else_a_drug_that_is_taken_says(medication: Json, fact: str, expected: object) -> None:
    assert value(reading(request("r", medication)), fact) == expected
    assert value(reading(request("r", medication, "2010-01-01")), fact) is None
    assert candidates(reading(request("r", medication, "2010-01-01")), fact)
    assert value(reading(request("r", medication, "2024-06-01", "stopped")), fact) is None


def test_several_depressants_are_listed_in_the_order_of_the_dictionary() -> None:
    read = reading(request("a", concept("rx 1049221")), request("b", concept("rx 596")))

    assert value(read, "med_cns_depressants") == ["benzodiazepine", "opioid"]


@pytest.mark.parametrize(("when", "expected"), [("2025-05-19", True), ("2025-05-18", None)])
def test_a_stopped_inhibitor_counts_for_fourteen_days(when: str, expected: object) -> None:
    assert value(reading(request("r", concept("rx 8123"), when, "stopped")), "med_maoi") == expected


@pytest.mark.parametrize(("code", "fact"), [("rx 2119365", "prior_esketamine"), ("rx 6130", "prior_ketamine")])
def test_a_course_is_only_suggested(code: str, fact: str) -> None:
    given = other("MedicationAdministration", "a", status="completed", medicationCodeableConcept=concept(code))
    read = reading(given)

    assert not read.facts
    assert candidates(read, fact) == [""]


def test_an_antidepressant_that_is_taken_suggests_that_it_goes_on_beside_esketamine() -> None:
    read = reading(request("r", SERTRALINE))

    assert candidates(read, "concomitant_oral_ad") == ["yes"]
    assert candidates(read, "oral_ad_class") == ["ssri"]


def test_a_request_dated_later_is_ignored() -> None:
    read = reading(request("r", SERTRALINE, "2025-06-03"))

    assert not read.facts
    assert issues(read, "trials") == {("date-future", "ignored")}


def test_a_trial_without_a_date_has_no_start() -> None:
    read = reading(request("a", SERTRALINE, ""), request("b", SERTRALINE))
    found: Any = value(read, "trials")

    assert "start_date" not in found[0]
    assert ("date-missing", "noted") in issues(read, "trials")


def test_no_medication_is_missing_and_no_empty_list() -> None:
    assert "trials" not in reading().facts
    assert "med_cns_depressants" not in reading().facts


def test_a_dose_keeps_its_digits() -> None:
    told = parse(b'{"value": 37.5, "code": "mg"}')
    dosage = {"timing": daily(1)["timing"], "doseAndRate": [{"doseQuantity": told}]}
    read = of(request("r", concept("rx 39786"), dosageInstruction=[dosage]))
    found: Any = value(read, "trials")

    assert found[0]["max_dose_mg"] == Decimal("37.5")


def test_a_statement_whose_period_is_over_does_not_speak_for_today() -> None:
    period = {"start": "2025-01-01", "end": "2025-05-01"}
    told = other(
        "MedicationStatement", "s", status="active", effectivePeriod=period, medicationCodeableConcept=concept("rx 596")
    )

    assert value(reading(told), "med_cns_depressants") is None
    assert value(reading({**told, "effectivePeriod": {"start": "2025-01-01"}}), "med_cns_depressants")


def test_a_later_assertion_does_not_speak_for_the_day_of_the_evaluation() -> None:
    told = other("MedicationStatement", "s", status="active", medicationCodeableConcept=concept("rx 596"))
    told |= {"effectiveDateTime": "2020-01-01", "dateAsserted": "2026-01-01"}

    assert value(reading(told), "med_cns_depressants") is None
    assert value(reading({**told, "dateAsserted": "2025-05-01"}), "med_cns_depressants")


def test_the_sources_of_trials_are_those_of_trials() -> None:
    read = reading(request("r", SERTRALINE), request("b", concept(text="lorazepam")))

    assert (read.facts["trials"].sources, read.facts["trials"].matched_by) == (("MedicationRequest/r",), "code")


def statement(name: str, source: object, **more: object) -> Json:
    told: Json = {"status": "completed", "medicationCodeableConcept": SERTRALINE, "informationSource": source}
    return other("MedicationStatement", name, **told, **more)


PATIENT, SISTER = {"reference": "Patient/p1"}, {"reference": "RelatedPerson/sister"}
DOCTOR = {"reference": "Practitioner/7"}
CONTAINED_SISTER = [{"resourceType": "RelatedPerson", "id": "sister"}]
EXPOSURES: list[tuple[Json, str | None]] = [
    (statement("s", PATIENT), "self_report"),
    (statement("s", [SISTER]), "self_report"),
    (statement("s", {"reference": "https://ehr.example.org/RelatedPerson/sister"}), "self_report"),
    (statement("s", {"type": "RelatedPerson", "display": "sister"}), "self_report"),
    (statement("s", {"reference": "#sister"}, contained=CONTAINED_SISTER), "self_report"),
    (statement("s", {"reference": "urn:uuid:11"}), "self_report"),
    (statement("s", {"reference": "urn:uuid:22"}), None),
    (statement("s", DOCTOR), None),
    (statement("s", None), None),
    (request("r", SERTRALINE, reportedBoolean=True), "self_report"),
    (request("r", SERTRALINE, reportedBoolean="true"), "self_report"),
    (request("r", SERTRALINE, reportedReference=SISTER), "self_report"),
    (request("r", SERTRALINE, reportedReference=DOCTOR), None),
    (request("r", SERTRALINE, reportedBoolean=False), None),
    (request("r", SERTRALINE), None),
]


@pytest.mark.parametrize(("told", "documentation"), EXPOSURES)
def test_a_trial_that_only_the_patient_or_a_relative_reported_says_so(told: Json, documentation: str | None) -> None:
    sister = {"resourceType": "RelatedPerson", "id": "x", "patient": {"reference": "Patient/p1"}}
    entries = [{"resource": told}, {"fullUrl": "urn:uuid:11", "resource": sister}]
    found: Any = value(of({"resourceType": "Bundle", "entry": entries}, who="p1"), "trials")

    assert found[0].get("documentation") == documentation


def test_a_trial_with_one_other_record_is_not_only_reported() -> None:
    reported, ordered = statement("s", PATIENT), request("r", SERTRALINE)

    assert "documentation" not in trials(reported, ordered)["sertraline"]
    assert trials(reported, statement("t", SISTER))["sertraline"]["documentation"] == "self_report"


def test_who_is_related_is_no_part_of_the_record() -> None:
    read = reading({"resourceType": "RelatedPerson", "id": "x", "patient": {"reference": "Patient/p2"}})

    assert not read.issues
