"""Two servers may give one id to two people: what refers to a patient of another server is another person's."""

from __future__ import annotations

import pytest

from engine.fhir.read import split
from tests.unit.fhir_record import TERMINOLOGY, Json, concept, issues, observation, of, patient, value

HERE, THERE = "https://here.example.org/fhir", "https://there.example.org/fhir"
OTHERS = ("wrong-patient", "ignored")


def score(name: str, number: int, reference: str = "Patient/p1") -> Json:
    return {**observation(name, concept("loinc 44261-6"), valueInteger=number), "subject": {"reference": reference}}


def entry(resource: Json, server: str = "") -> Json:
    url = {"fullUrl": f"{server}/{resource['resourceType']}/{resource['id']}"} if server else {}
    return {**url, "resource": resource}


def record(*entries: Json) -> Json:
    return {"resourceType": "Bundle", "entry": list(entries)}


@pytest.mark.parametrize(
    "told",
    [
        entry(score("o", 2, f"{THERE}/Patient/p1"), THERE),
        entry(score("o", 2, f"{THERE}/Patient/p1")),
        entry(score("o", 2, f"{THERE}/Patient/p1/_history/2"), HERE),
        entry(score("o", 2), THERE),
    ],
)
def test_a_patient_of_another_server_is_another_person(told: Json) -> None:
    read = of(record(entry(patient(), HERE), told), who="p1")

    assert value(read, "phq9_total") is None
    assert OTHERS in issues(read)


@pytest.mark.parametrize(
    "told",
    [
        entry(score("o", 2), HERE),
        entry(score("o", 2)),
        entry(score("o", 2, f"{HERE}/Patient/p1"), THERE),
        entry(score("o", 2, f"{HERE}/Patient/p1/_history/2")),
        entry(score("o", 2, "http://HERE.example.org/fhir/Patient/p1")),
    ],
)
@pytest.mark.parametrize("server", [HERE, ""])
def test_a_patient_of_the_same_server_is_the_same_person(told: Json, server: str) -> None:
    assert value(of(record(entry(patient(), server), told), who="p1"), "phq9_total") == 2


def test_a_record_that_names_no_server_of_its_patient_may_refer_to_one() -> None:
    for told in (entry(score("o", 2, f"{THERE}/Patient/p1")), entry(score("o", 2), THERE)):
        assert value(of(record(entry(patient()), told), who="p1"), "phq9_total") == 2
        assert value(of(record(told), who="p1"), "phq9_total") == 2


def test_two_servers_of_one_patient_who_names_none_settle_nothing() -> None:
    told = [entry(score("a", 2), HERE), entry(score("b", 20), THERE)]
    read = of(record(entry(patient()), *told), who="p1")

    assert value(read, "phq9_total") is None
    assert OTHERS in issues(read)
    assert of(record(*told)).facts == {}


def test_two_patients_of_one_id_are_told_apart_by_their_server() -> None:
    two = record(
        entry(patient(), HERE),
        entry(patient(birthDate="1950-01-01"), THERE),
        entry(score("o", 2), HERE),
        entry(score("o", 20), THERE),
    )

    assert of(two, who="p1").facts == {}
    assert of(two).facts == {}
    for server, age, total in ((HERE, 44, 2), (THERE, 75, 20)):
        read = of(two, who=f"{server}/Patient/p1")
        assert (value(read, "age_years"), value(read, "phq9_total")) == (age, total)
    parts = split(two, terminology=TERMINOLOGY)
    assert {value(of(part, who=who), "phq9_total") for who, part in parts.items()} == {2, 20}


def test_one_id_on_two_servers_is_two_resources() -> None:
    mine = score("1", 2) | {"meta": {"lastUpdated": "2020-01-01T00:00:00Z"}}
    other = score("1", 20) | {"meta": {"lastUpdated": "2025-06-02T00:00:00Z"}}
    read = of(record(entry(patient(), HERE), entry(mine, HERE), entry(other, THERE)), who="p1")

    assert value(read, "phq9_total") == 2
    assert OTHERS in issues(read)


def test_one_resource_with_and_without_its_server_is_one() -> None:
    told = score("1", 2)
    read = of([patient(), record(entry(patient(), HERE), entry(told, HERE)), told], who="p1")

    assert (value(read, "age_years"), value(read, "phq9_total")) == (44, 2)
    assert not issues(read)
