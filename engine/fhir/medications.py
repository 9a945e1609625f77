"""What a patient takes or took: requests, statements, dispenses and administrations, as exposures to ingredients.

Records of one drug that disagree settle nothing: what one says is taken, and a later one says has ended, is a
candidate.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.fhir import doses, moment, shape
from engine.fhir.bundle import PATIENT, RELATED_PERSON, relative
from engine.fhir.exposure import (
    ENDED,
    GIVEN,
    NOT_TAKEN,
    PLANNED,
    TAKING,
    Exposure,
    days_in,
    ends,
    has_status_reason,
    last_stops,
)
from engine.fhir.notes import Statement
from engine.fhir.reading import TRIALS
from engine.fhir.record import NOT_COUNTED, RETRACTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from engine.fhir.bundle import Resource
    from engine.fhir.record import Record
    from engine.fhir.tables import MedicationCode

_KINDS = ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")
_STARTS = {
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effective", "dateAsserted"),
    "MedicationDispense": ("whenHandedOver", "whenPrepared"),
    "MedicationAdministration": ("effective",),
}
_COUNTED = ({TAKING}, {ENDED}, {GIVEN})
_DAY = "d"
_LAY = frozenset({PATIENT, RELATED_PERSON})
"""Who may report a drug and is no clinician."""


def read_exposures(record: Record) -> list[Exposure]:
    """Read all evidence of drugs that matter here, and state what it says beside being a trial.

    It holds also what was not taken, which is no exposure and speaks against others.
    """
    exposures = []
    for kind in _KINDS:
        for resource in record.of_kind(kind):
            exposure = _exposure(resource, record)
            if exposure is not None:
                exposures.append(exposure)
    stops = last_stops(exposures)
    for exposure in exposures:
        for row in exposure.effects:
            _state_effect(row, exposure, stops, record)
    return exposures


def _exposure(resource: Resource, record: Record) -> Exposure | None:
    codings, texts = _medication(resource, record)
    ingredients, matched_by = record.terminology.drugs.ingredients(codings, texts)
    effects = [*_effects(ingredients, record), *(row for c in codings for row in record.terminology.classes.find(c))]
    effects = [row for row in effects if record.knows(row.fact)]
    facts = {row.fact for row in effects}
    if not ingredients.isdisjoint(record.terminology.drugs.trials):
        facts.add(TRIALS)
    standing = _standing(resource, facts, record)
    if not standing:
        return None
    if not ingredients and not facts:
        if not codings:
            record.notes.note("fhir/medication-unresolved", f"{resource.name}.medication", TRIALS)
        return None
    record.note_shape(resource)
    start = moment.of_start(resource.data, *_STARTS[resource.kind])
    asserted = moment.of_start(resource.data, "dateAsserted")
    told = asserted if asserted is not None and asserted.first <= record.as_of else start
    if start is not None and start.first > record.as_of:
        for fact in facts:
            record.notes.note("fhir/date-future", resource.name, fact)
        return None
    dose = doses.daily_dose(resource, record.terminology, _dose_limits(record))
    end, is_over = ends(resource, start, record.as_of)
    carried_out = shape.elements(resource.data.get("authorizingPrescription"))
    orders = frozenset(relative(shape.text(each.get("reference"))) for each in carried_out) - {""}
    return Exposure(
        ingredients,
        ingredients | {f"{system} {code}" for system, code in codings},
        tuple(effects),
        standing,
        start,
        told,
        end,
        is_over,
        has_status_reason(resource),
        days_in(resource.data.get("daysSupply")),
        dose,
        resource.name,
        matched_by,
        orders,
        is_self_report=_is_self_report(resource, record),
    )


def _dose_limits(record: Record) -> tuple[Decimal, Decimal]:
    """Give the range of a trial's daily dose; without trials in the data dictionary no dose is read."""
    fields = record.definitions[TRIALS].fields if record.knows(TRIALS) else ()
    return next(
        (field.range for field in fields if field.id == "max_dose_mg" and field.range), (Decimal(1), Decimal(0))
    )


def _medication(resource: Resource, record: Record) -> tuple[list[tuple[str, str]], list[str]]:
    """Give the codes and names of a medication: of the concept, of what a reference leads to, or its display."""
    concepts: list[object] = [resource.data.get("medicationCodeableConcept")]
    texts = []
    reference = shape.element(resource.data.get("medicationReference"))
    if reference:
        texts.append(shape.text(reference.get("display")))
        target = record.envelope.resolve(reference.get("reference"), resource.data) or {}
        concepts.append(target.get("code"))
        if not record.codings(target.get("code")):
            parts = shape.elements(target.get("ingredient"))
            concepts += [part.get("itemCodeableConcept") for part in parts]
    codings = [coding for concept in concepts for coding in record.codings(concept)]
    texts += [text for concept in concepts for text in record.texts(concept)]
    return codings, [text for text in texts if text]


def _standing(resource: Resource, facts: Iterable[str], record: Record) -> str:
    """Give how the record stands; empty, with an issue for each fact, if it does not count."""
    status = record.meanings(resource, "status")
    intent = record.meanings(resource, "intent")
    if record.is_prohibited(resource, facts):
        return ""
    if "planned" in intent and status == {TAKING}:
        return PLANNED
    if status in _COUNTED and intent in (set(), {"counts"}):
        return min(status)
    for fact in facts:
        record.notes.note(RETRACTED if "retracted" in status else NOT_COUNTED, f"{resource.name}.status", fact)
    return NOT_TAKEN if status == {NOT_TAKEN} else ""


def _is_self_report(resource: Resource, record: Record) -> bool:
    """Say whether the record itself says that the patient or a related person reported it."""
    reported = resource.data.get("reportedBoolean")
    if reported is True or shape.text(reported).lower() == "true":
        return True
    reporters = [shape.element(resource.data.get(name)) for name in ("informationSource", "reportedReference")]
    return any(_kind(reporter, resource, record) in _LAY for reporter in reporters)


def _kind(reference: shape.Element, resource: Resource, record: Record) -> str:
    """Give the type of what a reference leads to: as the record has it, as the reference says, or by its form."""
    written = shape.text(reference.get("reference"))
    found = record.envelope.resolve(written, resource.data) or {}
    told = shape.text(found.get("resourceType")) or shape.text(reference.get("type"))
    return told or relative(written).partition("/")[0]


def _effects(ingredients: Iterable[str], record: Record) -> Iterator[MedicationCode]:
    for ingredient in sorted(ingredients):
        yield from record.terminology.drugs.effects.get(ingredient, ())


def _state_effect(row: MedicationCode, exposure: Exposure, stops: Mapping[str, date], record: Record) -> None:
    path = f"{exposure.source}.medication"
    if exposure.standing == NOT_TAKEN:
        return
    if row.certainty == "suggests" and not row.within:
        record.notes.suggest(row.fact, row.value, "fhir/needs-confirmation", path, row.why)
        return
    doubt = _doubt(row, exposure, stops, record)
    if doubt is None:
        return
    if doubt:
        record.suggest(row.fact, row.value, doubt, path)
    elif row.certainty == "suggests":
        record.notes.suggest(row.fact, row.value, "fhir/needs-confirmation", path, row.why)
    else:
        day = exposure.told.day if exposure.told else None
        matched_by = exposure.matched_by if row.ingredient else row.matched_by
        record.notes.state(Statement(row.fact, row.value, day, exposure.source, matched_by))


def _doubt(row: MedicationCode, exposure: Exposure, stops: Mapping[str, date], record: Record) -> str | None:
    """Name why a record does not show that a drug is taken now, or was within the days of the row's policy.

    Empty if it shows that; None if it shows the opposite, or says nothing of it.
    """
    if exposure.standing == PLANNED:
        return "planned"
    doubt = exposure.doubt(stops, record) if exposure.standing == TAKING else None
    days_after = _days_after(row, record)
    last = exposure.last_day(record.as_of) or (exposure.told.day if exposure.told else None)
    is_within = days_after is not None and last is not None and record.as_of - last <= timedelta(days=days_after)
    if doubt == "" or is_within:
        return ""
    if exposure.standing == GIVEN:
        return "supply" if exposure.may_be_supplied(days_after or 0, record) else None
    if exposure.standing == ENDED and days_after is not None:
        latest = exposure.end.last if exposure.end else record.as_of
        return "no_end" if record.as_of - latest <= timedelta(days=days_after) else None
    return doubt


def _days_after(row: MedicationCode, record: Record) -> int | None:
    """Give how many days after its end a drug still counts; None for one that counts only while it is taken."""
    policy = record.terminology.policy[row.within]
    return policy.value if policy.unit == _DAY else None
