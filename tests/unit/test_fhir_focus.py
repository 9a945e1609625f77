"""An observation that is about someone or something else than the patient says nothing of the patient."""

from __future__ import annotations

import pytest

from tests.unit.fhir_record import Json, concept, issues, observation, pressure, reading, value

PHQ9 = concept("loinc 44261-6")
TOTAL = "phq9_total"
FOCUS_CODE = "http://hl7.org/fhir/StructureDefinition/observation-focusCode"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"focus": [{"reference": "RelatedPerson/spouse"}]}, "wrong-patient"),
        ({"focus": {"reference": "Patient/p2"}}, "wrong-patient"),
        ({"focus": [{"reference": "Patient/p1"}, {"reference": "Device/d"}]}, "wrong-patient"),
        ({"extension": [{"url": FOCUS_CODE, "valueCodeableConcept": concept(text="fetus")}]}, "wrong-patient"),
        ({"focus": [{"display": "fetus"}]}, "subject-unresolved"),
        ({"focus": "fetus"}, "subject-unresolved"),
    ],
)
def test_an_observation_about_someone_else_is_not_the_patients(more: Json, code: str) -> None:
    read = reading(observation("o", PHQ9, valueInteger=2, **more), {**pressure("b", 98, 60), **more})

    assert not read.facts
    assert issues(read) == {(code, "ignored")}


def test_the_focus_may_be_the_patient() -> None:
    assert value(reading(observation("o", PHQ9, valueInteger=2, focus=[{"reference": "Patient/p1"}])), TOTAL) == 2
    assert value(reading(observation("o", PHQ9, valueInteger=2, focus=[])), TOTAL) == 2
