"""Whom an observation is about: `focus` names someone or something else than the patient in whose record it stands.

FHIR R4, Observation.focus: "the actual focus of an observation when it is not the patient of record", as a fetus, a
spouse or a donor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir import shape
from engine.fhir.bundle import Resource
from engine.fhir.subject import subject_of

if TYPE_CHECKING:
    from engine.fhir.record import Record

_FOCUS = "focus"
_FOCUS_CODE = "http://hl7.org/fhir/StructureDefinition/observation-focusCode"


def fault_of_focus(observation: shape.Element, record: Record) -> str:
    """Give the issue code of an observation that is not about the patient; empty if it is, or names no focus."""
    if any(shape.extensions(observation, _FOCUS_CODE)):
        return "fhir/wrong-patient"
    if not observation.get(_FOCUS):
        return ""
    named = shape.elements(observation[_FOCUS])
    if not named or not all(shape.text(each.get("reference")) for each in named):
        return "fhir/subject-unresolved"
    whose = {subject_of(Resource("", {"subject": each}), record.envelope) for each in named}
    return "" if whose == {record.patient} else "fhir/wrong-patient"
