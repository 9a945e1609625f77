"""Calls are read tolerantly, and what is required is required."""

from __future__ import annotations

from typing import Any

import pytest

from server.cds_hooks.body import read_object
from server.cds_hooks.hook import check_patient, read_call, resources
from server.cds_hooks.outcome import Refusal


def body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    made = {
        "hook": "order-select",
        "hookInstance": "i-1",
        "context": {"userId": "Practitioner/1", "patientId": "p-1"},
    }
    return {**made, **changes}


def request() -> dict[str, Any]:
    return {"resourceType": "MedicationRequest", "id": "d-1", "status": "draft"}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (body(hook="patient-view"), "hook"),
        (body(hook=None), "hook"),
        (body(hookInstance=""), "hookInstance"),
        (body(hookInstance=7), "hookInstance"),
        (body(hookInstance="cut off \ud83d"), "hookInstance"),
        (body(context={"userId": "cut off \ud83d", "patientId": "p-1"}), "context.userId"),
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


CONDITION = {"resourceType": "Condition", "id": "c-1"}
BUNDLE = {"resourceType": "Bundle", "entry": [{"resource": CONDITION}]}


@pytest.mark.parametrize(
    ("came", "held"),
    [
        ({"c": {"response": {"status": "200"}, "resource": CONDITION}}, {"c": CONDITION}),
        ({"c": {"response": {"status": "200"}, "resource": BUNDLE}}, {"c": BUNDLE}),
        ({"c": {"resource": {"resource": CONDITION}}}, {"c": CONDITION}),
        ({"c": {"entry": BUNDLE["entry"]}}, {"c": BUNDLE}),
        ({"prefetch": CONDITION, "d": BUNDLE}, {"prefetch more": CONDITION, "d": BUNDLE}),
        ({"resourceType": "Odd", "d": BUNDLE}, {"resourceType more": "Odd", "d": BUNDLE}),
    ],
)
def test_what_is_found_in_prefetched_data_is_read_with_the_record(came: dict[str, Any], held: dict[str, Any]) -> None:
    """The engine's own reader passes over entries in place of resources, so they are opened before it gets them."""
    call = read_call(body(prefetch=came), "order-select")
    found = [r for value in call.prefetch.values() for r in resources(value)]

    assert call.prefetch == held
    assert found == [CONDITION] * sum(value in (CONDITION, BUNDLE) for value in held.values())


def test_prefetched_data_that_came_as_records_are_stay_what_they_are() -> None:
    given = body(prefetch={"c": BUNDLE, "d": None, "e": [CONDITION], "f": {"odd": 1}})

    assert read_call(given, "order-select").prefetch is given["prefetch"]


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
