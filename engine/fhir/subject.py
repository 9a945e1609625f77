"""Whose a resource is: the patients that a record names, and the resources of one of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.fhir import shape
from engine.fhir.bundle import PATIENT, REFERRED, Envelope, Resource, relative

if TYPE_CHECKING:
    from engine.fhir.notes import Notes

_SUBJECT, _PATIENT = "subject", "patient"
_UUID = "urn:uuid:"
_NAMES_A_PATIENT = re.compile(rf"{PATIENT}/([A-Za-z0-9\-.]{{1,64}})")


def patients_in(envelope: Envelope) -> tuple[str, ...]:
    """Give the ids of the patients of a record: of its Patients, or, where it has none, of those it refers to."""
    present = {patient_key(each) for each in envelope.by_kind.get(PATIENT, ())}
    if present:
        return tuple(sorted(present))
    named = {
        subject_of(resource, envelope)
        for kind, resources in envelope.by_kind.items()
        if kind not in REFERRED
        for resource in resources
    }
    return tuple(sorted(named - {""}))


def resources_of(patient: str, envelope: Envelope, notes: Notes) -> dict[str, list[Resource]]:
    """Give the resources of a patient by type; those of others, or of nobody who can be found, are noted."""
    mine: dict[str, list[Resource]] = {}
    known: dict[str, str] = {}
    for kind, resources in envelope.by_kind.items():
        if kind in REFERRED:
            continue
        for resource in resources:
            if kind == PATIENT:
                subject = patient_key(resource)
            else:
                reference = _reference(resource)
                if reference not in known:
                    known[reference] = _patient_of(reference, envelope)
                subject = known[reference]
            if subject == patient:
                mine.setdefault(kind, []).append(resource)
            else:
                code = "fhir/wrong-patient" if subject else "fhir/subject-unresolved"
                notes.note(code, f"{resource.name}.subject" if kind != PATIENT else resource.name)
    return mine


def patient_key(patient: Resource) -> str:
    """Give what tells a Patient apart: its id, else the url under which it came."""
    return patient.id or (patient.urls[0] if patient.urls else "?")


def subject_of(resource: Resource, envelope: Envelope) -> str:
    """Give the patient whom a resource is about; empty if none is named, or in no way that can be resolved."""
    return _patient_of(_reference(resource), envelope)


def _reference(resource: Resource) -> str:
    data = resource.data
    value = data[_SUBJECT] if _SUBJECT in data else data.get(_PATIENT)
    return shape.text(shape.element(value).get("reference")) or shape.text(value)


def _patient_of(reference: str, envelope: Envelope) -> str:
    if not reference:
        return ""
    found = envelope.find(reference)
    if found is not None:
        return patient_key(found) if found.kind == PATIENT else ""
    match = _NAMES_A_PATIENT.fullmatch(relative(reference))
    if match:
        return match[1]
    bare = reference.removeprefix(_UUID)
    return bare if bare != reference and envelope.find(f"{PATIENT}/{bare}") is not None else ""
