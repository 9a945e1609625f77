"""A patient's FHIR R4 record read into facts, candidates and issues.

Read tolerantly, element by element: one bad element never costs more than itself. What is absent is missing, never no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir.allergies import read_allergies
from engine.fhir.bundle import PATIENT, REFERRED, Envelope, Resource, unwrap
from engine.fhir.conditions import read_conditions
from engine.fhir.flags import read_flags
from engine.fhir.forms import read_responses
from engine.fhir.medications import read_exposures
from engine.fhir.modifiers import modified_in
from engine.fhir.notes import Notes
from engine.fhir.observations import read_observations
from engine.fhir.patient import read_patients
from engine.fhir.procedures import read_procedures
from engine.fhir.reading import Reading
from engine.fhir.record import Record
from engine.fhir.settle import settle
from engine.fhir.subject import resources_of, subjects_in
from engine.fhir.trials import read_trials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from engine.dictionary import FactDefinition
    from engine.fhir.terminology import Terminology

_SEVERAL = frozenset({"set", "records"})
"""Kinds of facts that have several values, so that one of them does not settle the others."""


def read(
    content: object,
    *,
    terminology: Terminology,
    definitions: Mapping[str, FactDefinition],
    as_of: date,
    patient: str | None = None,
) -> Reading:
    """Read the record of one patient.

    Args:
        content: a JSON value: a Bundle, a resource, a list of them, or the `prefetch` map of CDS Hooks.
        terminology: what codes say.
        definitions: the data dictionary; facts that it does not have are not read.
        as_of: the day of the evaluation; everything dated later is ignored.
        patient: the id of the patient, with or without `Patient/`; None where the record names only one.

    """
    notes = Notes(terminology)
    envelope = unwrap(content, notes)
    asked = patient.removeprefix(f"{PATIENT}/") if patient is not None else _only(envelope, notes)
    if asked is None:
        return Reading("", as_of, issues=notes.issues())
    by_kind = resources_of(asked, envelope, notes)
    notes.modified = modified_in(by_kind, envelope)
    record = Record(asked, by_kind, envelope, notes, terminology, definitions, as_of)
    read_patients(record)
    read_conditions(record)
    read_observations(record)
    read_responses(record)
    read_flags(record)
    read_allergies(record)
    read_procedures(record)
    read_trials(read_exposures(record), record)
    settle(notes, definitions, as_of)
    single = [name for name in notes.facts if definitions[name].type not in _SEVERAL]
    facts = {name: notes.facts[name] for name in definitions if name in notes.facts}
    return Reading(asked, as_of, facts, notes.candidates(single), notes.issues(), notes.earlier)


def split(content: object, *, terminology: Terminology) -> dict[str, object]:
    """Give each patient's part of a record by the patient's id; the part of one of several is a Bundle of its own."""
    envelope = unwrap(content, Notes(terminology))
    subjects = subjects_in(envelope)
    patients = subjects.all
    if len(patients) == 1:
        return {patients[0]: content}
    shared = [_entry(each) for kind in sorted(REFERRED) for each in envelope.by_kind.get(kind, ())]
    whose: dict[str, list[object]] = {patient: [] for patient in patients}
    for kind, resources in envelope.by_kind.items():
        for resource in resources:
            subject = subjects.of(resource) if kind not in REFERRED else ""
            if subject in whose:
                whose[subject].append(_entry(resource))
    links = [{"relation": "next"}] if envelope.is_partial else []
    return {
        patient: {"resourceType": "Bundle", "link": links, "entry": [*entries, *shared]}
        for patient, entries in whose.items()
    }


def _entry(resource: Resource) -> dict[str, object]:
    return {"fullUrl": resource.urls[0] if resource.urls else "", "resource": resource.data}


def _only(envelope: Envelope, notes: Notes) -> str | None:
    """Give the one patient of a record; None, with an issue for each, if it names none or several."""
    patients = subjects_in(envelope).all
    if len(patients) == 1:
        return patients[0]
    for patient in patients:
        notes.note("fhir/wrong-patient", f"{PATIENT}/{patient}")
    if not patients:
        for resources in envelope.by_kind.values():
            for resource in resources:
                notes.note("fhir/subject-unresolved", resource.name)
    return None
