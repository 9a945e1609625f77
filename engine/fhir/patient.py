"""Patient: age, sex at birth, and whether the patient has died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir import moment, shape
from engine.fhir.reading import DECEASED, Sourced

if TYPE_CHECKING:
    from engine.fhir.bundle import Resource
    from engine.fhir.record import Record

_AGE = "age_years"
_ELEMENT = "element"
_DECEASED, _BOOLEAN = "deceased", "Boolean"


def read_patients(record: Record) -> None:
    """Read the Patient; a record holds one at most, once the resources of others are left out."""
    for patient in record.of_kind("Patient"):
        record.note_shape(patient)
        _read_age(patient, record)
        _read_sex(patient, record)
        _read_death(patient, record)


def _read_age(patient: Resource, record: Record) -> None:
    written = patient.data.get("birthDate")
    if written is None or not record.knows(_AGE):
        return
    path = f"{patient.name}.birthDate"
    birth = moment.read_moment(written)
    if birth is None:
        record.notes.note("fhir/malformed", path, _AGE, "unusable")
        return
    youngest, oldest = (moment.completed_years(day, record.as_of) for day in (birth.last, birth.first))
    low, high = record.definitions[_AGE].range or (0, 0)
    if youngest != oldest:
        record.notes.note("fhir/date-imprecise", path, _AGE)
    elif youngest < low or birth.first > record.as_of:
        record.notes.note("fhir/date-future", path, _AGE)
    elif youngest > high:
        record.notes.note("fhir/implausible", path, _AGE)
    else:
        unit = record.definitions[_AGE].unit
        record.notes.settle(_AGE, Sourced(youngest, unit=unit, sources=(patient.name,), matched_by=_ELEMENT))


def _read_sex(patient: Resource, record: Record) -> None:
    """Read the sex at birth from its own extension; gender and other kinds of sex only suggest it."""
    said: dict[tuple[str, str], set[str]] = {}
    for row in record.terminology.patient:
        codes = {shape.code(patient.data.get(row.element))}
        for extension in shape.extensions(patient.data, row.element):
            found = shape.choice(extension, "value")
            if found is not None:
                codes |= _codes(found[1])
        if row.code in codes and record.knows(row.fact):
            said.setdefault((row.fact, row.certainty), set()).add(row.value)
    for (fact, certainty), values in sorted(said.items()):
        path = f"{patient.name}.{'extension' if certainty == 'sets' else 'gender'}"
        if certainty == "sets" and len(values) == 1:
            record.notes.settle(fact, Sourced(min(values), sources=(patient.name,), matched_by=_ELEMENT))
        elif (fact, "sets") not in said or len(said[fact, "sets"]) > 1:
            code = "fhir/conflict" if certainty == "sets" else "fhir/needs-confirmation"
            for value in sorted(values):
                record.notes.suggest(fact, value, code, path)


def _codes(value: object) -> set[str]:
    told = shape.element(value)
    codings = shape.elements(told.get("coding")) or [told]
    return {shape.code(each.get("code")) for each in codings} | {shape.code(value)}


def _read_death(patient: Resource, record: Record) -> None:
    """Note that the patient had died by the day of the evaluation.

    Whatever says something else than `false` or a later day counts as a death, on a day that is not known if none can
    be read. A boolean without a value does not say which of the two it is, and that is noted.
    """
    path = f"{patient.name}.deceased"
    names = {key.removeprefix("_") for key, value in patient.data.items() if value is not None}
    for name in sorted(each for each in names if each.startswith(_DECEASED)):
        said = patient.data.get(name)
        day = moment.read_moment(said)
        if _is_no(said) or (day is not None and day.first > record.as_of):
            continue
        if said is None and name.endswith(_BOOLEAN):
            record.notes.note("fhir/value-absent", path)
            continue
        record.notes.note(DECEASED, path)
        if day is None and not _is_yes(said):
            record.notes.note("fhir/date-missing" if said is None else "fhir/malformed", path)


def _is_yes(value: object) -> bool:
    return value is True or shape.text(value).lower() == "true"


def _is_no(value: object) -> bool:
    return value is False or shape.text(value).lower() == "false"
