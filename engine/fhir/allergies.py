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
            has_allergy |= not _is_denied(record.meanings(resource, _VERIFICATION))
        for row in substances:
            _read_substance(resource, row, record)
        negatives += [(resource, row) for row in rows if row.role != _SUBSTANCE]
        _read_names(resource, {row.fact for row in substances}, record)
    for resource, row in negatives:
        _read_negative(resource, row, record, has_allergy=has_allergy)


def _concepts(resource: Resource) -> list[object]:
    """Give what may name the substance: the code, and the substance of each reaction."""
    reactions = shape.elements(resource.data.get("reaction"))
    return [resource.data.get("code"), *(reaction.get("substance") for reaction in reactions)]


def _rows(resource: Resource, record: Record) -> list[AllergyCode]:
    codings = [coding for concept in _concepts(resource) for coding in record.codings(concept)]
    rows = [row for coding in codings for row in record.terminology.allergies.find(coding)]
    return [row for row in rows if record.knows(row.fact)]


def _is_denied(meanings: set[str]) -> bool:
    """Say whether a verification status denies an allergy. One that is not understood does not."""
    return bool(meanings) and meanings <= {"ignored", "retracted"}


def _is_sure(resource: Resource, record: Record) -> bool:
    """Say whether the verification status lets an allergy settle a fact; an absent one does."""
    return record.meanings(resource, _VERIFICATION) <= {"counts"}


def _counts(resource: Resource, fact: str, record: Record) -> bool:
    """Say whether an allergy counts, verified or not; if it does not, or is dated later, that is noted."""
    meanings = record.meanings(resource, _VERIFICATION)
    if _is_denied(meanings):
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
    if not _is_sure(resource, record):
        record.notes.suggest(row.fact, row.value, "fhir/not-verified", f"{resource.name}.{_VERIFICATION}")
    elif row.certainty != "sets":
        record.notes.suggest(row.fact, row.value, "fhir/needs-confirmation", path)
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
    elif not _is_sure(resource, record):
        record.notes.suggest(row.fact, row.value, "fhir/not-verified", f"{resource.name}.{_VERIFICATION}")
    elif has_allergy:
        record.suggest(row.fact, row.value, "other_allergy", path)
    elif record.envelope.is_partial:
        record.suggest(row.fact, row.value, "partial", path)
    elif recorded is None or recorded.last > record.as_of:
        record.suggest(row.fact, row.value, "no_day", path)
    else:
        record.notes.state(_statement(resource, row, is_negative=True))


def _read_names(resource: Resource, coded: set[str], record: Record) -> None:
    """Read what names a drug that is considered: a text, a display or the code of a product, whatever else is coded.

    It suggests, unless a code of the substance says so already; the name of anything else says nothing.
    """
    concepts, drugs = _concepts(resource), record.terminology.drugs
    named, _ = drugs.ingredients([], [text for concept in concepts for text in record.texts(concept)])
    products, _ = drugs.ingredients([coding for concept in concepts for coding in record.codings(concept)], [])
    found = named | products
    codes = {coding for coding, (ingredients, _) in drugs.by_code.items() if not found.isdisjoint(ingredients)}
    said = {(row.fact, row.value) for coding in codes for row in record.terminology.allergies.find(coding)}
    for fact, value in sorted(said):
        if fact not in coded and record.knows(fact) and _counts(resource, fact, record):
            record.notes.suggest(fact, value, "fhir/text-only", f"{resource.name}.code")


def _statement(resource: Resource, row: AllergyCode, *, is_negative: bool = False) -> Statement:
    day = moment.of_start(resource.data, "recordedDate", "onset")
    found = day.day if day else None
    return Statement(row.fact, row.value, found, resource.name, row.matched_by, is_negative=is_negative)
