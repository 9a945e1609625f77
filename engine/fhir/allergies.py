"""AllergyIntolerance: hypersensitivity to the drugs that are considered, and the statement that there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir import moment, shape
from engine.fhir.notes import Statement
from engine.fhir.record import NOT_COUNTED, RETRACTED

if TYPE_CHECKING:
    from engine.fhir.bundle import Resource
    from engine.fhir.record import Record
    from engine.fhir.tables import AllergyCode

_SUBSTANCE = "substance"
_VERIFICATION, _CLINICAL = "verificationStatus", "clinicalStatus"


def read_allergies(record: Record) -> None:
    """Read the allergies. No list is not `none`, and a statement of none beside an allergy is to be confirmed."""
    negatives: list[tuple[Resource, AllergyCode]] = []
    has_allergy = False
    for resource in record.of_kind("AllergyIntolerance"):
        rows = _rows(resource, record)
        substances = [row for row in rows if row.role == _SUBSTANCE]
        if len(rows) == len(substances):
            has_allergy |= record.meanings(resource, _VERIFICATION) <= {"counts", "unverified"}
        for row in substances:
            _read_substance(resource, row, record)
        negatives += [(resource, row) for row in rows if row.role != _SUBSTANCE]
        if not rows:
            _read_text(resource, record)
    for resource, row in negatives:
        _read_negative(resource, row, record, has_allergy=has_allergy)


def _rows(resource: Resource, record: Record) -> list[AllergyCode]:
    concepts = [resource.data.get("code")]
    concepts += [reaction.get("substance") for reaction in shape.elements(resource.data.get("reaction"))]
    codings = [coding for concept in concepts for coding in record.codings(concept)]
    rows = [row for coding in codings for row in record.terminology.allergies.find(coding)]
    return [row for row in rows if record.knows(row.fact)]


def _counts(resource: Resource, fact: str, record: Record) -> bool:
    """Say whether an allergy counts, verified or not; if it does not, or is dated later, that is noted."""
    meanings = record.meanings(resource, _VERIFICATION)
    if not meanings <= {"counts", "unverified"}:
        code = RETRACTED if "retracted" in meanings else NOT_COUNTED
        record.notes.note(code, f"{resource.name}.{_VERIFICATION}", fact)
        return False
    day = moment.of_start(resource.data, "onset", "recordedDate")
    if day is not None and day.first > record.as_of:
        record.notes.note("fhir/date-future", resource.name, fact)
        return False
    record.note_shape(resource)
    return True


def _read_substance(resource: Resource, row: AllergyCode, record: Record) -> None:
    if not _counts(resource, row.fact, record):
        return
    path = f"{resource.name}.code"
    if "unverified" in record.meanings(resource, _VERIFICATION):
        record.notes.suggest(row.fact, row.value, "fhir/not-verified", f"{resource.name}.{_VERIFICATION}")
    elif shape.text(resource.data.get("type")) == "intolerance":
        record.suggest(row.fact, row.value, "intolerance", path)
    else:
        record.notes.state(_statement(resource, row))


def _read_negative(resource: Resource, row: AllergyCode, record: Record, *, has_allergy: bool) -> None:
    """Read the statement that there is no allergy: it holds while it is active, and if nothing speaks against it.

    It has to be known that it was made by the day of the evaluation, whatever its onset.
    """
    if not _counts(resource, row.fact, record):
        return
    path = f"{resource.name}.code"
    recorded = moment.of_start(resource.data, "recordedDate", "assertedDate")
    if recorded is not None and recorded.first > record.as_of:
        record.notes.note("fhir/date-future", f"{resource.name}.recordedDate", row.fact)
        return
    if record.meanings(resource, _CLINICAL) - {"active"}:
        record.notes.note(NOT_COUNTED, f"{resource.name}.{_CLINICAL}", row.fact)
    elif "unverified" in record.meanings(resource, _VERIFICATION):
        record.notes.suggest(row.fact, row.value, "fhir/not-verified", f"{resource.name}.{_VERIFICATION}")
    elif has_allergy:
        record.suggest(row.fact, row.value, "other_allergy", path)
    elif record.envelope.is_partial:
        record.suggest(row.fact, row.value, "partial", path)
    elif recorded is None or recorded.last > record.as_of:
        record.suggest(row.fact, row.value, "no_day", path)
    else:
        record.notes.state(_statement(resource, row, is_negative=True))


def _read_text(resource: Resource, record: Record) -> None:
    """Read an allergy that is a text: the name of a drug that is considered suggests, anything else says nothing."""
    codings, texts = record.codings(resource.data.get("code")), record.texts(resource.data.get("code"))
    drugs = record.terminology.drugs
    named, _ = drugs.ingredients([], texts)
    codes = {coding for coding, (ingredients, _) in drugs.by_code.items() if not named.isdisjoint(ingredients)}
    for row in {row for coding in codes for row in record.terminology.allergies.find(coding)}:
        if not codings and record.knows(row.fact) and _counts(resource, row.fact, record):
            record.notes.suggest(row.fact, row.value, "fhir/text-only", f"{resource.name}.code")


def _statement(resource: Resource, row: AllergyCode, *, is_negative: bool = False) -> Statement:
    day = moment.of_start(resource.data, "recordedDate", "onset")
    found = day.day if day else None
    return Statement(row.fact, row.value, found, resource.name, row.matched_by, is_negative=is_negative)
