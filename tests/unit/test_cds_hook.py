"""Calls are read tolerantly, and what is required is required."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.cds_hooks.body import read_object
from server.cds_hooks.drafts import ordered_options
from server.cds_hooks.hook import check_patient, read_call, resources
from server.cds_hooks.outcome import Refusal
from server.cds_hooks.words import load_words

WORDS = load_words(Path(__file__).parents[2] / "rules")
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    made = {
        "hook": "order-select",
        "hookInstance": "i-1",
        "context": {"userId": "Practitioner/1", "patientId": "p-1"},
    }
    return {**made, **changes}


def drafts(*found: dict[str, Any], **context: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    bundle = {"entry": [{"resource": r} for r in found]}
    return body(context={"userId": "u", "patientId": "p-1", "draftOrders": bundle, **context})


def request(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"resourceType": "MedicationRequest", "id": "d-1", "status": "draft", **fields}


def coded(code: str, system: str = RXNORM, text: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}], "text": text}


def options(given: dict[str, Any]) -> tuple[str, ...]:
    return ordered_options(read_call(given, "order-select"), WORDS)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (body(hook="patient-view"), "hook"),
        (body(hook=None), "hook"),
        (body(hookInstance=""), "hookInstance"),
        (body(hookInstance=7), "hookInstance"),
        (body(context=None), "context"),
        (body(context=[]), "context"),
        (body(context={"patientId": "p-1"}), "context.userId"),
        (body(context={"userId": "u"}), "context.patientId"),
        (body(context={"userId": "u", "patientId": "../secret"}), "context.patientId"),
        (body(context={"userId": "u", "patientId": "p&x=1"}), "context.patientId"),
        (body(context={"userId": "u", "patientId": "p-1", "encounterId": "a b"}), "context.encounterId"),
    ],
)
def test_what_is_required_is_named(given: dict[str, Any], place: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_call(given, "order-select")

    assert refused.value.status == 400
    assert refused.value.places == (place,)


@pytest.mark.parametrize(
    "changes",
    [
        {"extension": {"com.example": {"a": 1}}},
        {"extension": "odd"},
        {"prefetch": None},
        {"prefetch": []},
        {"fhirServer": 5, "fhirAuthorization": []},
        {"fhirAuthorization": {"access_token": "a\r\nb"}, "fhirServer": "https://x"},
        {"anything": [1, {"b": None}]},
    ],
)
def test_everything_else_is_passed_over(changes: dict[str, Any]) -> None:
    call = read_call(body(**changes), "order-select")

    assert call.patient == "p-1"
    assert call.access is None


def test_a_reference_is_taken_for_an_id() -> None:
    given = body(context={"userId": "u", "patientId": "Patient/p-1", "encounterId": "Encounter/e-1"})

    assert read_call(given, "order-select").context == {"patientId": "p-1", "encounterId": "e-1"}


def test_a_token_does_not_show() -> None:
    call = read_call(body(fhirServer="https://x", fhirAuthorization={"access_token": "SECRET"}), "order-select")

    assert call.access is not None
    assert "SECRET" not in repr(call)


def test_the_prefetched_patient_is_the_one_of_the_context() -> None:
    call = read_call(body(), "order-select")
    mine, other = {"resourceType": "Patient", "id": "p-1"}, {"resourceType": "Patient", "id": "p-2"}

    assert check_patient(call, {"patient": mine})
    assert check_patient(call, {"user": other, "-me": {"resourceType": "Bundle", "entry": [{"resource": mine}]}})
    assert not check_patient(call, {"patient": None, "conditions": {"resourceType": "Bundle"}})
    with pytest.raises(Refusal, match="is not"):
        check_patient(call, {"patient": other})


@pytest.mark.parametrize(
    "shape",
    [
        {"resourceType": "Bundle", "entry": [{"resource": request()}]},
        {"entry": [{"resource": request()}]},
        {"resourceType": "Bundle", "entry": [request()]},
        {"resourceType": "Bundle", "entry": {"resource": request()}},
        [request()],
        request(),
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Bundle", "entry": [request()]}}]},
    ],
)
def test_resources_are_found_in_every_envelope(shape: object) -> None:
    assert [r["id"] for r in resources(shape)] == ["d-1"]


@pytest.mark.parametrize("shape", [None, "x", 5, {}, [], {"resourceType": "Bundle"}, {"entry": None}, [[[]]]])
def test_an_envelope_without_resources_has_none(shape: object) -> None:
    assert list(resources(shape)) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (request(medicationCodeableConcept=coded("2119365")), ("esketamine",)),
        (request(medicationCodeableConcept=coded("6130")), ("ketamine_iv",)),
        (request(medicationCodeableConcept=coded("6130", "urn:oid:2.16.840.1.113883.6.88")), ("ketamine_iv",)),
        (request(medicationCodeableConcept=coded("6130", "http://example.org/other")), ()),
        (request(medicationCodeableConcept={"text": "Esketamine 28 MG Nasal Spray"}), ("esketamine",)),
        (request(medicationCodeableConcept={"text": "SPRAVATO kit"}), ("esketamine",)),
        (request(medicationCodeableConcept={"text": "ketamine 50 mg/mL IV"}), ("ketamine_iv",)),
        (request(medicationCodeableConcept={"coding": {"display": "Ketamine"}}), ("ketamine_iv",)),
        (request(medicationReference={"reference": "Medication/9", "display": "ESKETAMINE NASL"}), ("esketamine",)),
        (
            request(
                medicationReference={"reference": "#m"},
                contained=[{"resourceType": "Medication", "id": "m", "code": coded("2119365")}],
            ),
            ("esketamine",),
        ),
        (request(medication={"concept": coded("2119365")}), ("esketamine",)),
        (request(), ()),
        (request(medicationCodeableConcept=None), ()),
        (request(medicationCodeableConcept={"text": "Escitalopram 20 MG"}), ()),
        (request(medicationCodeableConcept={"text": "norketamine"}), ()),
        (request(status="entered-in-error", medicationCodeableConcept=coded("2119365")), ()),
        (request(status=["odd"], medicationCodeableConcept=coded("2119365")), ("esketamine",)),
        (request(id={"odd": 1}, medicationCodeableConcept=coded("2119365")), ("esketamine",)),
        ({"resourceType": "ServiceRequest", "id": "s", "code": {"text": "ketamine infusion"}}, ("ketamine_iv",)),
    ],
)
def test_a_draft_names_its_drug(given: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert options(drafts(given)) == expected


def test_esketamine_is_not_ketamine() -> None:
    assert options(drafts(request(medicationCodeableConcept={"text": "esketamine"}))) == ("esketamine",)


def test_a_medication_of_the_bundle_names_the_drug() -> None:
    medication = {"resourceType": "Medication", "id": "m-1", "code": coded("2119365")}
    given = request(medicationReference={"reference": "https://ehr.example.org/fhir/Medication/m-1"})

    assert options(drafts(given, medication)) == ("esketamine",)
    assert options(drafts(medication)) == ()


def test_a_medication_is_found_by_its_full_url() -> None:
    medication = {"resourceType": "Medication", "id": "m-1", "code": coded("2119365")}
    given = request(medicationReference={"reference": "urn:uuid:0c4ad6e1-9d0e-4c61-8f39-5d8d1d3a9b0e"})
    entries = [
        {"resource": given},
        {"fullUrl": "urn:uuid:0c4ad6e1-9d0e-4c61-8f39-5d8d1d3a9b0e", "resource": medication},
    ]
    context = {"userId": "u", "patientId": "p-1", "draftOrders": {"resourceType": "Bundle", "entry": entries}}

    assert options(body(context=context)) == ("esketamine",)


def test_an_order_not_to_give_a_drug_is_no_order_of_it() -> None:
    assert options(drafts(request(doNotPerform=True, medicationCodeableConcept=coded("2119365")))) == ()


def test_only_selected_drafts_count_where_the_call_selects() -> None:
    other = request(id="d-2", medicationCodeableConcept=coded("197361"))
    ours = request(medicationCodeableConcept=coded("2119365"))

    assert options(drafts(ours, other, selections=["MedicationRequest/d-2"])) == ()
    assert options(drafts(ours, other, selections=["MedicationRequest/d-1"])) == ("esketamine",)
    assert options(drafts(ours, other, selections=["MedicationRequest/gone"])) == ("esketamine",)
    assert options(drafts(ours, other, selections=[])) == ("esketamine",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"a":1',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"\xff\xfe{}",
        b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_with_no_reading_or_two_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read_object(data)

    assert refused.value.status == 400


def test_a_body_with_one_reading_is_read() -> None:
    assert read_object(b'\xef\xbb\xbf{"a":[1.5,null,"\\u00e9"]}') == {"a": [1.5, None, "é"]}
