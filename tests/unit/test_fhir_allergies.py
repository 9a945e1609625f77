"""Allergies, and the statement that there are none; treatments that were given."""

from __future__ import annotations

from datetime import date

import pytest

from tests.unit.fhir_record import Json, candidates, concept, condition, issues, other, reading, status, value

FACT = "hypersensitivity_esk_ket"


def allergy(name: str, code: Json, clinical: str = "active", verified: str = "confirmed", **more: object) -> Json:
    return {
        "resourceType": "AllergyIntolerance", "id": name, "patient": {"reference": "Patient/p1"}, "code": code,
        "clinicalStatus": status(clinical), "verificationStatus": status(verified), **more,
    }  # fmt: skip


def none(recorded: str = "2025-01-01", **more: object) -> Json:
    dated = {"recordedDate": recorded} if recorded else {}
    return allergy("a", concept("sct 716186003"), **dated, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["rx 6130", "rx 2119365"])
@pytest.mark.parametrize("clinical", ["active", "resolved"])
def test_a_hypersensitivity_counts_at_any_time(code: str, clinical: str) -> None:
    assert value(reading(allergy("a", concept(code), clinical)), FACT) == "yes"


def test_a_hypersensitivity_may_stand_in_a_reaction() -> None:
    told = allergy("a", concept(text="anesthetics"), reaction=[{"substance": concept("rx 6130")}])

    assert value(reading(told), FACT) == "yes"


@pytest.mark.parametrize("code", ["sct 716186003", "sct 409137002"])
def test_no_known_allergy_is_a_recorded_negative(code: str) -> None:
    read = reading(allergy("a", concept(code), recordedDate="2025-01-01"))

    assert (value(read, FACT), read.facts[FACT].date) == ("no", "2025-01-01")


@pytest.mark.parametrize(
    ("resources", "suggests"),
    [
        ([allergy("a", concept(text="No known contrast allergy"))], []),
        ([allergy("a", concept(text="Penicillin"))], []),
        ([], []),
        ([allergy("a", concept("sct 716186003"), "resolved")], []),
        ([allergy("a", concept("sct 716186003"), verified="refuted")], []),
        ([allergy("a", concept("sct 716186003"), verified="unconfirmed")], ["no"]),
        ([none(), allergy("b", concept("rx 1191"))], ["no"]),
        ([none("")], ["no"]),
        ([none("2025")], ["no"]),
        ([none("2025-06-03")], []),
        ([none("2025-06-03", onsetDateTime="2001-01-01")], []),
        ([none("", onsetDateTime="2001-01-01")], ["no"]),
        ([allergy("a", concept("rx 6130"), verified="refuted")], []),
        ([allergy("a", concept("rx 6130"), verified="entered-in-error")], []),
        ([allergy("a", concept("rx 6130"), verified="unconfirmed")], ["yes"]),
        ([allergy("a", concept("rx 6130"), type="intolerance")], ["yes"]),
        ([allergy("a", concept(text="Ketamine"))], ["yes"]),
        ([allergy("a", concept("rx 6130"), recordedDate="2025-06-03")], []),
    ],
)
def test_what_settles_nothing(resources: list[Json], suggests: list[str]) -> None:
    read = reading(*resources)

    assert value(read, FACT) is None
    assert candidates(read, FACT) == suggests


def test_a_statement_of_none_gives_way_to_an_allergy() -> None:
    read = reading(none(), allergy("b", concept("rx 6130")))

    assert value(read, FACT) == "yes"
    assert candidates(read, FACT) == []


KETAMINE = concept("rx 6130")
KETALAR = {
    "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "238084", "display": "Ketalar"}]
}


@pytest.mark.parametrize("odd", [{"text": "Confirmed"}, status("Confirmed"), status("nonsense"), {"coding": []}])
def test_an_allergy_whose_verification_is_not_understood_is_to_be_confirmed(odd: Json) -> None:
    told = allergy("b", KETAMINE, verificationStatus=odd)

    assert candidates(reading(told), FACT) == ["yes"]
    assert ("not-verified", "unconfirmed") in issues(reading(told), FACT)
    assert value(reading(none(), told), FACT) is None
    assert candidates(reading(none(), told), FACT) == ["no", "yes"]
    assert value(reading(none(verificationStatus=odd)), FACT) is None


@pytest.mark.parametrize(
    "told",
    [
        allergy("b", concept("sct 373464007")),
        allergy("b", concept("sct 999", text="Ketamine")),
        allergy("b", concept("rx 238084", text="ketamine 100 MG/ML Injectable Solution")),
        allergy("b", KETALAR),
        allergy("b", concept("sct 716186003", text="ketamine")),
        allergy("b", concept("icd T88.59"), reaction=[{"substance": {"text": "Esketamine"}}]),
        allergy(
            "b", concept(text="Anesthetics"), reaction=[{}, {"substance": {"coding": [{"display": "S-Ketamine"}]}}]
        ),
        condition("b", concept("sct 294355009", text="Allergy to ketamine")),
        condition("b", concept("icd F33.1", text="Ketamine allergy; depression")),
        condition("b", concept(text="Hypersensitivity reaction due to esketamine")),
    ],
)
def test_an_allergy_by_any_code_or_name_is_to_be_confirmed_and_forbids_a_negative(told: Json) -> None:
    read = reading(told)

    assert value(read, FACT) is None
    assert "yes" in candidates(read, FACT)
    assert value(reading(none(), told), FACT) is None


@pytest.mark.parametrize(
    "told",
    [condition("b", concept("icd Z88.4")), allergy("b", concept("icd Z88.4")), condition("b", concept("icd Z884"))],
)
def test_an_allergy_to_an_anesthetic_is_to_be_asked_about(told: Json) -> None:
    assert candidates(reading(told), FACT) == [""]
    assert value(reading(none(), told), FACT) is None


def test_a_use_of_ketamine_is_no_allergy() -> None:
    assert not candidates(reading(condition("b", concept(text="Ketamine abuse"))), FACT)


def test_no_negative_follows_from_a_page() -> None:
    read = reading(none(), link=[{"relation": "next"}])

    assert value(read, FACT) is None
    assert candidates(read, FACT) == ["no"]


def procedure(code: str, when: object = "2025-05-01", **more: object) -> Json:
    told = {"status": "completed", "code": concept(code), "performedDateTime": when, **more}
    return other("Procedure", "x", **told)


@pytest.mark.parametrize(
    ("when", "expected"),
    [("2025-06-02", True), ("2025-03-04", True), ("2025-03-03", None), ("2020", None), (None, None)],
)
def test_a_recent_dialysis_shows_dialysis(when: object, expected: object) -> None:
    read = reading(procedure("sct 265764009", when))

    assert value(read, "dialysis") is expected
    assert candidates(read, "dialysis") == ([] if expected else ["true"])


@pytest.mark.parametrize("state", ["in-progress", "not-done", "entered-in-error", "preparation"])
def test_only_completed_procedures_count(state: str) -> None:
    read = reading(procedure("sct 265764009", status=state))

    assert not read.facts
    assert not read.candidates


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("cpt 90870", "ect_history"),
        ("sct 23835007", "ect_history"),
        ("cpt 90868", "tms_history"),
        ("cpt 90837", "psychotherapy_trial_adequate"),
        ("hcpcs G2082", "prior_esketamine"),
    ],
)
def test_a_treatment_suggests_and_its_result_is_asked(code: str, fact: str) -> None:
    read = reading(procedure(code))

    assert value(read, fact) is None
    assert candidates(read, fact) == [""]


def test_a_procedure_dated_later_is_ignored() -> None:
    read = reading(procedure("cpt 90870"), as_of=date(2025, 4, 30))

    assert issues(read, "ect_history") == {("date-future", "ignored")}
