"""Age, sex at birth and death, as far as a Patient says them."""

from __future__ import annotations

from datetime import date

import pytest

from tests.unit.fhir_record import Json, candidates, issues, patient, reading, value

BIRTH_SEX = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"
INDIVIDUAL_SEX = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-individual-sex"


@pytest.mark.parametrize(
    ("birth", "as_of", "age"),
    [
        ("1980-06-02", date(2025, 6, 2), 45),
        ("1980-06-03", date(2025, 6, 2), 44),
        ("2000-02-29", date(2018, 2, 28), 17),
        ("2000-02-29", date(2018, 3, 1), 18),
        ("1980", date(2025, 12, 31), 45),
        ("1980-06", date(2025, 7, 1), 45),
    ],
)
def test_age_is_counted_in_completed_years(birth: str, as_of: date, age: int) -> None:
    assert value(reading(patient(birthDate=birth), as_of=as_of), "age_years") == age


@pytest.mark.parametrize(
    ("birth", "issue"),
    [
        ("1980", ("date-imprecise", "unusable")),
        ("1980-06", ("date-imprecise", "unusable")),
        ("2026-01-01", ("date-future", "ignored")),
        ("1880-01-01", ("implausible", "unusable")),
        ("1980-02-30", ("malformed", "unusable")),
        (1980, ("malformed", "unusable")),
    ],
)
def test_an_age_that_has_two_answers_or_none_is_not_read(birth: object, issue: tuple[str, str]) -> None:
    read = reading(patient(birthDate=birth))

    assert value(read, "age_years") is None
    assert issue in issues(read, "age_years")


def test_sex_at_birth_comes_from_its_own_extension_only() -> None:
    birth_sex: Json = {"url": BIRTH_SEX, "valueCode": "F"}
    read = reading(patient(gender="male", extension=[birth_sex]))

    assert value(read, "sex_at_birth") == "female"
    assert candidates(read, "sex_at_birth") == []
    assert not issues(read)


@pytest.mark.parametrize(
    "more",
    [
        {"gender": "male"},
        {"extension": [{"url": INDIVIDUAL_SEX, "valueCoding": {"code": "248153007"}}]},
        {"extension": [{"url": BIRTH_SEX, "valueCode": "UNK"}], "gender": "male"},
    ],
)
def test_gender_and_other_kinds_of_sex_only_suggest(more: Json) -> None:
    read = reading(patient(**more))

    assert value(read, "sex_at_birth") is None
    assert candidates(read, "sex_at_birth") == ["male"]


def test_two_birth_sexes_settle_nothing() -> None:
    read = reading(patient(extension=[{"url": BIRTH_SEX, "valueCode": code} for code in "FM"]))

    assert value(read, "sex_at_birth") is None
    assert issues(read, "sex_at_birth") == {("conflict", "unusable")}


@pytest.mark.parametrize(
    ("more", "is_deceased"),
    [
        ({}, False),
        ({"deceasedBoolean": False}, False),
        ({"deceasedBoolean": True}, True),
        ({"deceasedDateTime": "2025-06-02"}, True),
        ({"deceasedDateTime": "2025-06-03"}, False),
        ({"deceasedDateTime": "2025"}, True),
        ({"deceasedBoolean": False, "deceasedDateTime": "2025-01-01"}, True),
        ({"deceasedBoolean": "false"}, False),
        ({"deceasedBoolean": None, "deceasedDateTime": None}, False),
        ({"deceasedDateTime": "2025-06-03", "_deceasedDateTime": {"id": "d"}}, False),
    ],
)
def test_a_death_counts_from_its_day(more: Json, *, is_deceased: bool) -> None:
    assert reading(patient(**more)).is_deceased is is_deceased


ABSENT: Json = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
}


@pytest.mark.parametrize(
    ("more", "issue"),
    [
        ({"deceasedDateTime": "01/02/2020"}, ("malformed", "noted")),
        ({"deceasedDateTime": ""}, ("malformed", "noted")),
        ({"deceasedBoolean": 7}, ("malformed", "noted")),
        ({"deceasedString": "last year"}, ("malformed", "noted")),
        ({"_deceasedDateTime": ABSENT}, ("date-missing", "unusable")),
        ({"deceasedBoolean": False, "_deceasedDateTime": ABSENT}, ("date-missing", "unusable")),
    ],
)
def test_a_death_whose_day_cannot_be_read_counts(more: Json, issue: tuple[str, str]) -> None:
    read = reading(patient(**more))

    assert read.is_deceased
    assert issue in issues(read)


def test_that_it_is_not_known_whether_somebody_died_is_said() -> None:
    read = reading(patient(_deceasedBoolean=ABSENT))

    assert not read.is_deceased
    assert issues(read) == {("value-absent", "unusable")}
