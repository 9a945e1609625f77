"""Records in whatever they come in: what can be read of the envelope is read, and the rest is said."""

from __future__ import annotations

import pytest

from engine.fhir.read import split
from tests.unit.fhir_record import (
    SUBJECT,
    TERMINOLOGY,
    Json,
    bundle,
    concept,
    condition,
    issues,
    of,
    patient,
    pressure,
    reading,
    value,
)

ICH = condition("c", concept("sct 274100004"))
REFUTED = condition("c", concept("sct 274100004"), verified="refuted", recordedDate="2025-06-01")
FACT = "intracerebral_hemorrhage_history"


@pytest.mark.parametrize(
    "content",
    [
        bundle(patient(), ICH),
        {"resourceType": "Bundle", "entry": [{"resource": patient()}, {"resource": ICH}]},
        {"resourceType": "Bundle", "entry": [patient(), ICH]},
        {"resourceType": "Bundle", "entry": {"resource": bundle(patient(), ICH)}},
        {"resourceType": "Bundle", "entry": [{"resource": [ICH]}, {"search": {"mode": "match"}}, 7, None]},
        [patient(), ICH],
        ICH,
        {"patient": patient(), "conditions": bundle(ICH), "vitals": None, "-user": {"resourceType": "Practitioner"}},
        {"hook": "patient-view", "context": {"patientId": "p1"}, "prefetch": {"a": patient(), "b": [ICH]}},
        bundle(patient(), bundle(ICH)),
    ],
)
def test_a_record_may_come_in_any_envelope(content: Json | list[Json]) -> None:
    assert value(of(content), FACT) == "yes"


@pytest.mark.parametrize("content", [7, "x", None, [3], {"resourceType": 5}, {"a": {"b": 1}}])
def test_what_is_no_record_is_read_as_nothing(content: object) -> None:
    read = of(content)

    assert not read.facts
    assert issues(read) == {("malformed", "ignored")}


def test_entries_that_are_the_resource_are_read_and_noted() -> None:
    assert ("malformed", "noted") in issues(of({"resourceType": "Bundle", "entry": [patient(), ICH]}))


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/p1",
        " Patient/p1 ",
        "https://ehr.example.org/r4/Patient/p1",
        "https://ehr.example.org/r4/Patient/p1/_history/3",
        "urn:uuid:0b8e",
        "urn:uuid:p1",
    ],
)
def test_a_subject_may_be_written_in_many_ways(reference: str) -> None:
    entries = [
        {"fullUrl": "urn:uuid:0b8e", "resource": patient()},
        {"resource": {**ICH, "subject": {"reference": reference}}},
    ]

    assert value(of({"resourceType": "Bundle", "entry": entries}), FACT) == "yes"


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ({"reference": "Patient/other"}, "wrong-patient"),
        ({"reference": "Pateint/p1"}, "subject-unresolved"),
        ({"reference": "Group/p1"}, "subject-unresolved"),
        ({"reference": "urn:uuid:unknown"}, "subject-unresolved"),
        ({"display": "somebody"}, "subject-unresolved"),
        (None, "subject-unresolved"),
    ],
)
def test_what_belongs_to_another_or_to_nobody_is_ignored(subject: object, code: str) -> None:
    read = reading(patient(), {**ICH, "subject": subject})

    assert value(read, FACT) is None
    assert (code, "ignored") in issues(read)


def match(resource: Json, mode: str = "match") -> Json:
    return {"resource": resource, "search": {"mode": mode}}


def test_a_total_counts_what_matched_and_not_what_came_with_it() -> None:
    practitioner: Json = {"resourceType": "Practitioner", "id": "d"}
    entries = [match(REFUTED), match(practitioner, "include")]
    whole = of([patient(), {"resourceType": "Bundle", "total": 1, "entry": entries}])
    page = of([patient(), {"resourceType": "Bundle", "total": 2, "entry": entries}])

    assert value(whole, FACT) == "no"
    assert value(page, FACT) is None
    assert ("history-incomplete", "noted") in issues(page)


@pytest.mark.parametrize(
    ("issue", "is_partial"),
    [
        ({"severity": "error", "code": "incomplete"}, True),
        ({"severity": "fatal", "code": "exception"}, True),
        ({"severity": "warning", "code": "incomplete"}, True),
        ({"severity": "information", "code": "suppressed"}, True),
        ({"severity": "odd", "code": "informational"}, True),
        ({"code": "informational"}, True),
        ({"severity": "warning", "code": "not-found"}, False),
        ({"severity": "information", "code": "informational"}, False),
    ],
)
@pytest.mark.parametrize("is_alone", [True, False])
def test_no_negative_follows_where_the_server_speaks_of_an_error(
    issue: Json, *, is_partial: bool, is_alone: bool
) -> None:
    outcome: Json = {"resourceType": "OperationOutcome", "issue": [issue]}
    found = {"resourceType": "Bundle", "entry": [match(REFUTED), *([] if is_alone else [match(outcome, "outcome")])]}
    read = of({"patient": patient(), "conditions": found, **({"others": outcome} if is_alone else {})})

    assert value(read, FACT) == (None if is_partial else "no")
    assert (("history-incomplete", "noted") in issues(read)) is is_partial
    assert ("outcome", "noted") in issues(read)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"response": {"status": "200 OK"}, "resource": bundle(ICH)},
        {"response": {"status": "200"}, "resource": ICH},
        {"resource": ICH},
        {"entry": [{"resource": ICH}]},
    ],
)
@pytest.mark.parametrize("is_request", [True, False])
def test_a_prefetched_value_may_be_wrapped(wrapped: Json, *, is_request: bool) -> None:
    content = {"patient": patient(), "conditions": wrapped}

    assert value(of({"prefetch": content} if is_request else content), FACT) == "yes"


@pytest.mark.parametrize("odd", [{"result": [ICH]}, "a text", 7, {"entry": "none"}])
def test_a_prefetched_value_of_another_shape_is_noted(odd: object) -> None:
    assert ("malformed", "ignored") in issues(of({"prefetch": {"patient": patient(), "conditions": odd}}))


@pytest.mark.parametrize("status", ["404", "500 Internal Server Error", "", None])
def test_a_search_that_failed_makes_the_record_a_part(status: object) -> None:
    failed: Json = {"response": {"status": status}}
    batch = {"resourceType": "Bundle", "type": "batch-response", "entry": [{"resource": REFUTED}, failed]}
    for content in ({"a": patient(), "b": REFUTED, "c": failed}, [patient(), batch]):
        read = of(content)

        assert value(read, FACT) is None
        assert ("history-incomplete", "noted") in issues(read)


def test_a_record_of_several_patients_needs_to_be_told_which() -> None:
    several = bundle(patient(), {**patient(), "id": "p2"}, ICH)

    assert of(several).facts == {}
    assert value(of(several, who="Patient/p1"), FACT) == "yes"
    assert value(of(several, who="p2"), FACT) is None


def test_a_record_without_a_patient_is_of_the_one_it_refers_to() -> None:
    assert of(bundle(ICH)).patient == "p1"


def test_the_patients_of_a_bulk_export_are_split() -> None:
    second = {**ICH, "id": "d", "subject": {"reference": "Patient/p2"}}
    parts = split([patient(), {**patient(), "id": "p2"}, ICH, second], terminology=TERMINOLOGY)

    assert sorted(parts) == ["p1", "p2"]
    assert [f.sources for n, f in of(parts["p2"], who="p2").facts.items() if n == FACT] == [("Condition/d",)]


def test_a_resource_that_comes_twice_counts_once_and_its_newer_version() -> None:
    old = {**ICH, "meta": {"lastUpdated": "2024-01-01"}, "verificationStatus": {"coding": [{"code": "refuted"}]}}
    new = {**ICH, "meta": {"lastUpdated": "2025-01-01"}}

    assert value(reading(patient(), old, new), FACT) == "yes"
    assert value(reading(patient(), new, old), FACT) == "yes"


def test_an_outcome_is_no_data() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": []}
    found = {"resourceType": "Bundle", "total": 0, "entry": [{"resource": outcome, "search": {"mode": "outcome"}}]}
    read = of({"patient": patient(), "conditions": found})

    assert issues(read) == {("outcome", "noted")}


@pytest.mark.parametrize("part", [{"link": [{"relation": "next", "url": "x"}]}, {"total": 3}, {"total": "3"}])
def test_no_negative_follows_from_a_page(part: Json) -> None:
    whole = reading(patient(), REFUTED, total=2)
    page = reading(patient(), REFUTED, **part)

    assert value(whole, FACT) == "no"
    assert value(page, FACT) is None
    assert ("history-incomplete", "noted") in issues(page)


def test_a_list_where_an_object_is_due_is_read_and_noted() -> None:
    odd = {**ICH, "subject": [SUBJECT], "category": {"coding": [{"code": "problem-list-item"}]}}
    read = reading(patient(), odd)

    assert value(read, FACT) == "yes"
    assert ("malformed", "noted") in issues(read)


def test_claims_and_imaging_are_passed_over_without_an_issue() -> None:
    kinds = ("Claim", "ExplanationOfBenefit", "ImagingStudy")
    assert not reading(patient(), *({"resourceType": kind, "id": "x"} for kind in kinds)).issues


def test_spaces_in_systems_and_dates_do_not_matter() -> None:
    coding = {"system": "http: //snomed.info/sct ", "code": " 274100004 "}
    read = reading(patient(), condition("c", {"coding": [coding]}, onsetDateTime="2023-05-21T02: 19: 13.000Z"))

    assert read.facts[FACT].date == "2023-05-21"


def test_a_reference_to_two_resources_leads_to_neither() -> None:
    entries = [
        {"fullUrl": "urn:uuid:1", "resource": patient()},
        {"fullUrl": "urn:uuid:1", "resource": {**patient(), "id": "p2"}},
        {"resource": {**pressure("b", 120, 80), "subject": {"reference": "urn:uuid:1"}}},
    ]

    assert value(of({"resourceType": "Bundle", "entry": entries}, who="p1"), "sbp_mmHg") is None


def test_resources_of_nobody_are_said_to_be() -> None:
    read = of([{**ICH, "subject": None}])

    assert (read.patient, issues(read)) == ("", {("subject-unresolved", "ignored")})
