"""A resource with a modifier extension settles nothing: what it would have settled is a candidate."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.property.fhir_mutants import whole_record
from tests.unit.fhir_record import (
    SUBJECT,
    Json,
    c_ssrs,
    candidates,
    concept,
    condition,
    daily,
    issues,
    observation,
    of,
    other,
    patient,
    phq9,
    pressure,
    quantity,
    reading,
    request,
    status,
    value,
)

MODIFIER: Json = {"modifierExtension": [{"url": "http://example.org/negated", "valueBoolean": True}]}
HELD = ("modifier-extension", "unconfirmed")
SEX = {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex", "valueCode": "F"}
NO_ALLERGY: Json = {
    "resourceType": "AllergyIntolerance", "id": "a", "patient": SUBJECT, "code": concept("sct 716186003"),
    "clinicalStatus": status("active"), "recordedDate": "2025-01-01",
}  # fmt: skip
KETAMINE: Json = {**NO_ALLERGY, "code": concept("rx 6130")}
RESOURCES = [
    (condition("c", concept("sct 274100004")), "intracerebral_hemorrhage_history", "yes"),
    (condition("c", concept("icd I21.4"), onsetDateTime="2025-05-05"), "recent_cv_event_weeks", "4"),
    (
        condition("c", concept("sct 274100004"), verified="refuted", recordedDate="2025-06-01"),
        "intracerebral_hemorrhage_history",
        "no",
    ),
    (pressure("o", 131, 84), "sbp_mmHg", "131"),
    (observation("o", concept("loinc 44261-6"), valueInteger=9), "phq9_total", "9"),
    (observation("o", concept("loinc 63895-7"), valueBoolean=True), "breastfeeding", "true"),
    (phq9("q", (1,) * 9), "phq9_total", "9"),
    (phq9("q", (1,) * 9), "phq9_item9", "1"),
    (c_ssrs("q", dict.fromkeys(("93246-7", "93247-5", "93248-3", "93249-1", "93250-9"), False)), "si_level", "none"),
    (c_ssrs("q", {"93267-3": True, "93269-9": True}), "suicidal_behavior_recency", "within_3mo"),
    (NO_ALLERGY, "hypersensitivity_esk_ket", "no"),
    (KETAMINE, "hypersensitivity_esk_ket", "yes"),
    (
        other("Procedure", "p", status="completed", code=concept("sct 265764009"), performedDateTime="2025-06-01"),
        "dialysis",
        "true",
    ),
    (request("r", concept("rx 8123")), "med_maoi", "true"),
    (request("r", concept("rx 6470")), "med_cns_depressants", "benzodiazepine"),
    (request("r", concept("rx 36437")), "trials", "sertraline"),
    (patient(), "age_years", "44"),
    (patient(extension=[SEX]), "sex_at_birth", "female"),
]


@pytest.mark.parametrize(("resource", "fact", "suggests"), RESOURCES)
def test_what_it_would_have_settled_is_a_candidate(resource: Json, fact: str, suggests: str) -> None:
    settled, held = reading(resource), reading({**resource, **MODIFIER})

    assert fact in settled.facts
    assert not held.facts
    assert suggests in candidates(held, fact)
    assert HELD in issues(held, fact)
    name = f"{resource['resourceType']}/{resource['id']}"
    assert {i.path.partition(".")[0] for i in held.issues if i.code == "fhir/modifier-extension"} == {name}


@pytest.mark.parametrize("kind", ["MedicationStatement", "MedicationDispense", "MedicationAdministration"])
def test_no_evidence_of_a_drug_settles_it(kind: str) -> None:
    told = other(kind, "m", status="completed", medicationCodeableConcept=concept("rx 36437"), **MODIFIER)
    read = reading(told)

    assert not read.facts
    assert candidates(read, "trials") == ["sertraline"]


def test_nothing_of_a_record_that_is_modified_throughout_is_settled() -> None:
    record = deepcopy(whole_record())
    for entry in record["entry"]:
        entry["resource"] |= MODIFIER
    before, after = of(whole_record(), who="p1"), of(record, who="p1")

    assert not after.facts
    assert {c.fact for c in after.candidates} >= set(before.facts) - {"severity_date"}


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_an_empty_one_is_none(empty: object) -> None:
    read = reading(condition("c", concept("sct 274100004"), modifierExtension=empty))

    assert value(read, "intracerebral_hemorrhage_history") == "yes"


def with_part(resource: Json, *path: str) -> Json:
    """Give a copy in which the element under `path` has a modifier extension; of a list, the first."""
    changed = deepcopy(resource)
    part: Any = changed
    for key in path:
        part = part[key][0] if isinstance(part[key], list) else part[key]
    part |= MODIFIER
    return changed


@pytest.mark.parametrize(
    ("resource", "fact"),
    [
        (with_part(pressure("o", 131, 84), "component"), "sbp_mmHg"),
        (with_part(phq9("q", (1,) * 9), "item"), "phq9_total"),
        (with_part(phq9("q", (1,) * 9), "item", "answer"), "phq9_total"),
        (with_part(request("r", concept("rx 36437"), dosageInstruction=[daily(50)]), "dosageInstruction"), "trials"),
        (
            with_part(KETAMINE | {"reaction": [{"substance": concept("rx 6130")}]}, "reaction"),
            "hypersensitivity_esk_ket",
        ),
    ],
)
def test_a_part_that_is_read_counts_like_the_whole(resource: Json, fact: str) -> None:
    read = reading(resource)

    assert fact not in read.facts
    assert HELD in issues(read, fact)


def test_a_part_that_is_not_read_does_not_count() -> None:
    assert value(reading(patient(contact=[MODIFIER])), "age_years") == 44


@pytest.mark.parametrize("is_contained", [True, False])
def test_a_medication_counts_like_the_order_that_names_it(*, is_contained: bool) -> None:
    medicine: Json = {"resourceType": "Medication", "id": "m", "code": concept("rx 8123"), **MODIFIER}
    told = request("r", {}) | {"medicationCodeableConcept": None}
    told |= {"medicationReference": {"reference": "#m" if is_contained else "Medication/m"}}
    read = reading({**told, "contained": [medicine]}) if is_contained else reading(told, medicine)

    assert not read.facts
    assert candidates(read, "med_maoi") == ["true"]


def test_a_member_counts_like_its_panel() -> None:
    items = [f"item-{n}" for n in range(9)]
    codes = ("44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8")
    members = [
        observation(name, concept(f"loinc {code}"), valueInteger=1) for name, code in zip(items, codes, strict=True)
    ]
    panel = observation(
        "panel", concept("loinc 44249-1"), hasMember=[{"reference": f"Observation/{name}"} for name in items]
    )

    assert value(reading(panel, *members), "phq9_total") == 9
    members[0] |= MODIFIER
    assert value(reading(panel, *members), "phq9_total") is None
    assert candidates(reading(panel, *members), "phq9_total") == ["9"]


def test_nothing_older_stands_in_for_a_value_that_is_newer() -> None:
    old = observation("old", concept("loinc 29463-7"), "2025-01-01", valueQuantity=quantity(80, "kg"))
    new = observation("new", concept("loinc 29463-7"), valueQuantity=quantity(90, "kg"), **MODIFIER)
    read = reading(old, new)

    assert value(read, "weight_kg") is None
    assert candidates(read, "weight_kg") == ["90.0"]
    assert value(reading({**old, **MODIFIER}, {**new, "modifierExtension": []}), "weight_kg") == 90


def test_a_negative_does_not_stand_beside_one_that_may_say_yes() -> None:
    no = condition("a", concept("sct 274100004"), verified="refuted", recordedDate="2025-06-01")
    yes = condition("b", concept("icd I61.9"), **MODIFIER)

    assert value(reading(no, yes), "intracerebral_hemorrhage_history") is None
    assert candidates(reading(no, yes), "intracerebral_hemorrhage_history") == ["no", "yes"]


def test_a_trial_needs_all_its_records() -> None:
    plain, modified = request("a", concept("rx 36437")), request("b", concept("rx 36437"), taken="stopped", **MODIFIER)
    read = reading(plain, modified, request("c", concept("rx 4493")))
    found: Any = value(read, "trials")

    assert [trial["drug"] for trial in found] == ["fluoxetine"]
    assert [c.sources for c in read.candidates if c.suggests == "sertraline"] == [("MedicationRequest/b",)]


def test_a_death_stops_the_evaluation_all_the_same() -> None:
    assert reading(patient(deceasedBoolean=True, **MODIFIER)).is_deceased
