"""What a patient takes or took: requests, statements, dispenses and administrations, as exposures to ingredients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.fhir import doses, moment, shape
from engine.fhir.bundle import PATIENT, RELATED_PERSON, relative
from engine.fhir.notes import Statement
from engine.fhir.reading import TRIALS
from engine.fhir.record import NOT_COUNTED, RETRACTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from engine.fhir.bundle import Resource
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record
    from engine.fhir.tables import MedicationCode

_KINDS = ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")
_STARTS = {
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effective", "dateAsserted"),
    "MedicationDispense": ("whenHandedOver", "whenPrepared"),
    "MedicationAdministration": ("effective",),
}
_TAKING, _ENDED, _PLANNED = "taking", "ended", "planned"
_ONGOING = "ongoing"
_LAY = frozenset({PATIENT, RELATED_PERSON})
"""Who may report a drug and is no clinician."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One piece of evidence that a drug was taken, or is.

    Attributes:
        ingredients: what the medication consists of.
        standing: `taking`, `ended`, or `planned` (a plan, or a report that it is taken).
        start: when it began, as far as this record says.
        told: when the record was made, which says how far it can be trusted that the drug is taken now.
        end: the last day, where one is stated.
        dose: the dose a day, where amount and timing are recorded in mg.
        source: the resource, as `Type/id`.
        matched_by: how the drug was found.
        orders: the orders that a dispense says it carries out, as `Type/id`.
        is_self_report: whether the patient or a related person reported it.

    """

    ingredients: frozenset[str]
    standing: str
    start: Moment | None
    told: Moment | None
    end: date | None
    dose: doses.Dose
    source: str
    matched_by: str
    orders: frozenset[str] = frozenset()
    is_self_report: bool = False

    def is_recent(self, record: Record) -> bool:
        """Say whether a record that the drug is taken is recent enough to speak for the day of the evaluation."""
        months = record.terminology.policy[_ONGOING].value
        return (
            self.standing == _TAKING
            and self.end is None
            and self.told is not None
            and self.told.first >= moment.months_before(record.as_of, months)
        )


def read_exposures(record: Record) -> list[Exposure]:
    """Read all evidence of drugs that matter here, and state what it says beside being a trial."""
    exposures = []
    for kind in _KINDS:
        for resource in record.of_kind(kind):
            exposure = _exposure(resource, record)
            if exposure is not None:
                exposures.append(exposure)
    return exposures


def _exposure(resource: Resource, record: Record) -> Exposure | None:
    codings, texts = _medication(resource, record)
    ingredients, matched_by = record.terminology.drugs.ingredients(codings, texts)
    effects = [*_effects(ingredients, record), *(row for c in codings for row in record.terminology.classes.find(c))]
    facts = {row.fact for row in effects if record.knows(row.fact)}
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
    end = _end(resource, record.as_of)
    carried_out = shape.elements(resource.data.get("authorizingPrescription"))
    orders = frozenset(relative(shape.text(each.get("reference"))) for each in carried_out) - {""}
    is_self_report = _is_self_report(resource, record)
    exposure = Exposure(
        ingredients, standing, start, told, end, dose, resource.name, matched_by, orders, is_self_report
    )
    for row in effects:
        if record.knows(row.fact):
            _state_effect(row, exposure, record)
    return exposure


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
    if "planned" in intent and status == {_TAKING}:
        return _PLANNED
    if status in ({_TAKING}, {_ENDED}) and intent in (set(), {"counts"}):
        return min(status)
    for fact in facts:
        record.notes.note(RETRACTED if "retracted" in status else NOT_COUNTED, f"{resource.name}.status", fact)
    return ""


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


def _end(resource: Resource, as_of: date) -> date | None:
    """Give the last day of a period of use, where one is stated that is over."""
    if resource.kind == "MedicationStatement":
        end = moment.read_moment(shape.element(resource.data.get("effectivePeriod")).get("end"))
    else:
        repeats = [
            shape.element(shape.element(dosage.get("timing")).get("repeat"))
            for dosage in shape.elements(resource.data.get("dosageInstruction"))
        ]
        bounds = [shape.element(repeat.get("boundsPeriod")).get("end") for repeat in repeats]
        end = moment.read_moment(bounds[0]) if len(bounds) == 1 else None
    return end.day if end is not None and end.day is not None and end.day <= as_of else None


def _effects(ingredients: Iterable[str], record: Record) -> Iterator[MedicationCode]:
    for ingredient in sorted(ingredients):
        yield from record.terminology.drugs.effects.get(ingredient, ())


def _state_effect(row: MedicationCode, exposure: Exposure, record: Record) -> None:
    path = f"{exposure.source}.medication"
    if row.certainty == "suggests" and not row.within:
        record.notes.suggest(row.fact, row.value, "fhir/needs-confirmation", path, row.why)
    elif exposure.standing == _PLANNED:
        record.suggest(row.fact, row.value, "planned", path)
    elif not _is_now(row, exposure, record):
        if exposure.standing == _TAKING:
            record.suggest(row.fact, row.value, "undated" if exposure.told is None else "old", path)
    elif row.certainty == "suggests":
        record.notes.suggest(row.fact, row.value, "fhir/needs-confirmation", path, row.why)
    else:
        day = exposure.told.day if exposure.told else None
        matched_by = exposure.matched_by if row.ingredient else row.matched_by
        record.notes.state(Statement(row.fact, row.value, day, exposure.source, matched_by))


def _is_now(row: MedicationCode, exposure: Exposure, record: Record) -> bool:
    """Say whether the drug is taken now, or was within the days of the row's policy."""
    if exposure.is_recent(record):
        return True
    policy = record.terminology.policy[row.within]
    last = exposure.end or (exposure.told.day if exposure.told else None)
    return policy.unit == "d" and last is not None and record.as_of - last <= timedelta(days=policy.value)
